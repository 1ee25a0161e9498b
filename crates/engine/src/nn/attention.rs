//! Softmax attention.

use candle_core::{D, DType, Tensor};

use super::kernel::SoftmaxInPlace;
use crate::error::Result;

/// Scores held at once, in numbers: 64 MB of float32. Longer sequences are worked off in blocks of queries, so that a
/// picture of 2048² (16,384 tokens, 24 heads) needs no 26 GB for its scores.
const SCORES: usize = 1 << 24;

/// softmax(q kᵀ · scale + bias) v over `[batch, heads, tokens, width]`; `bias` broadcasts to
/// `[batch, heads, queries, keys]`.
///
/// # Errors
/// Shapes that do not fit, or a device out of memory.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, heads, queries, _) = q.dims4()?;
    let block = (SCORES / (batch * heads * k.dim(2)?).max(1)).clamp(1, queries.max(1));
    in_blocks(q, k, v, scale, bias, block)
}

/// Attention, `block` queries at a time.
fn in_blocks(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, bias: Option<&Tensor>, block: usize) -> Result<Tensor> {
    // reduced types gain nothing on a CPU, which would widen them for each product
    let dtype = if q.device().is_cpu() { DType::F32 } else { q.dtype() };
    let wide = |t: &Tensor| t.to_dtype(dtype)?.contiguous();
    let (q_, k_, v_) = (wide(q)?, wide(k)?, wide(v)?);
    let (queries, keys) = (q_.dim(2)?, k_.transpose(2, 3)?);
    let mut parts = Vec::new();
    for start in (0..queries).step_by(block) {
        let count = block.min(queries - start);
        let bias = bias.map(|b| if b.dim(2)? == 1 { Ok(b.clone()) } else { b.narrow(2, start, count) }).transpose()?;
        let scores = q_.narrow(2, start, count)?.matmul(&keys)?;
        parts.push(weights(scores, scale, bias.as_ref())?.matmul(&v_)?);
    }
    let out = if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(&parts, 2)? };
    Ok(out.to_dtype(q.dtype())?)
}

fn weights(scores: Tensor, scale: f64, bias: Option<&Tensor>) -> Result<Tensor> {
    let dtype = scores.dtype();
    let (scores, scale) = match bias {
        Some(bias) => ((scores * scale)?.broadcast_add(&bias.to_dtype(dtype)?)?, 1.0),
        None => (scores, scale),
    };
    if scores.device().is_cpu() {
        scores.inplace_op1(&SoftmaxInPlace { scale: scale as f32 })?;
        return Ok(scores);
    }
    softmax(&(scores * scale)?)
}

/// Shares of the last dimension, computed in float32.
pub(crate) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let wide = scores.to_dtype(DType::F32)?;
    let shifted = wide.broadcast_sub(&wide.max_keepdim(D::Minus1)?)?.exp()?;
    Ok(shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?.to_dtype(scores.dtype())?)
}

/// `[batch, tokens, heads · width]` to `[batch, heads, tokens, width]`.
///
/// # Errors
/// A width that the heads do not divide.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    Ok(x.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous()?)
}

/// Keys or values whose heads serve several heads of queries each (Ainslie et al., 2023): each head of
/// `[batch, heads, tokens, width]` so many times, one after the other.
///
/// # Errors
/// A tensor of another rank, or a device out of memory.
pub fn shared_heads(x: &Tensor, times: usize) -> Result<Tensor> {
    let (batch, heads, tokens, width) = x.dims4()?;
    let spread = x.unsqueeze(2)?.expand((batch, heads, times, tokens, width))?;
    Ok(spread.reshape((batch, heads * times, tokens, width))?)
}

/// `[batch, heads, tokens, width]` to `[batch, tokens, heads · width]`.
///
/// # Errors
/// A tensor of another rank.
pub fn join_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, tokens, width) = x.dims4()?;
    Ok(x.transpose(1, 2)?.reshape((batch, tokens, heads * width))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;

    #[test]
    fn heads_are_shared_by_neighbours() -> Result<()> {
        let x = Tensor::new(&[[[[1f32]], [[2.0]]]], &candle_core::Device::Cpu)?;
        assert_eq!(shared_heads(&x, 3)?.flatten_all()?.to_vec1::<f32>()?, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        Ok(())
    }

    #[test]
    fn blocks_kernel_and_bias_agree_with_the_plain_form() -> Result<()> {
        let mut g = Generator::new(4);
        let mut draw = |tokens| g.noise(&[2, 3, tokens, 8]);
        let (q, k, v) = (draw(5)?, draw(7)?, draw(7)?);
        for bias in [None, Some(&[1, 3, 5, 7]), Some(&[2, 1, 1, 7])] {
            let bias = bias.map(|shape| Generator::new(5).noise(shape)).transpose()?;
            let scores = (q.matmul(&k.t()?)? * 0.3)?;
            let scores = bias.as_ref().map_or(Ok(scores.clone()), |b| scores.broadcast_add(b))?;
            let expected = softmax(&scores)?.matmul(&v)?;
            for block in [1, 2, 5] {
                let got = in_blocks(&q, &k, &v, 0.3, bias.as_ref(), block)?;
                let difference = (got - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(difference < 1e-6, "{difference} with blocks of {block}");
            }
        }
        Ok(())
    }
}
