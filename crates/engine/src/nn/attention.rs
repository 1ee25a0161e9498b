//! Softmax attention.

use candle_core::{D, DType, Tensor};
use scumble_kernels::{Attention, Bias, Heads};

use super::card;
use super::kernel::{Numbers, runs_here, unfit};
use crate::error::Result;

/// Scores that the plain form holds at once, in numbers: 64 MB of float32. Longer sequences are worked off in blocks of
/// queries, so that a picture of 2048² (16,384 tokens, 24 heads) needs no 26 GB for its scores.
const SCORES: usize = 1 << 24;

/// softmax(q kᵀ · scale + bias) v over `[batch, heads, tokens, width]`; `bias` broadcasts to
/// `[batch, heads, queries, keys]`. Keys and values may have fewer heads, each of which then serves several neighbouring
/// heads of queries (Ainslie et al., 2023).
///
/// # Errors
/// Shapes that do not fit, or a device out of memory.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, bias: Option<&Tensor>) -> Result<Tensor> {
    attention_in(false, q, k, v, scale, bias)
}

/// The same; in `halves`, a CPU rounds what it multiplies to bfloat16.
pub(super) fn attention_in(
    halves: bool,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, heads, queries, width) = q.dims4()?;
    let (_, shared, keys, _) = k.dims4()?;
    let fits = k.dims() == [batch, shared, keys, width] && v.dims() == k.dims();
    if !fits || shared == 0 || !heads.is_multiple_of(shared) || keys == 0 {
        let reason = format!("queries {:?} do not fit keys {:?} and values {:?}", q.dims(), k.dims(), v.dims());
        return Err(unfit(reason));
    }
    super::work::count(batch * heads * queries, keys, 2 * width);
    if runs_here(q) {
        let shape = Attention { batch, heads, shared, queries, keys, width, scale: scale as f32 };
        return here(&shape, halves, q, k, v, bias);
    }
    if let Some(y) = card::attended(q, k, v, scale, bias)? {
        return Ok(y);
    }
    let block = (SCORES / (batch * heads * keys).max(1)).clamp(1, queries.max(1));
    let times = heads / shared;
    in_blocks(q, &shared_heads(k, times)?, &shared_heads(v, times)?, scale, bias, block)
}

/// By our kernel, which takes heads wherever they lie.
fn here(shape: &Attention, halves: bool, q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Attention { batch, heads, queries, keys, width, .. } = *shape;
    let dense = |t: &Tensor| -> Result<Tensor> {
        let t = t.to_dtype(DType::F32)?;
        Ok(if t.stride()[3] == 1 || width == 1 { t } else { t.contiguous()? })
    };
    let (q_, k_, v_) = (dense(q)?, dense(k)?, dense(v)?);
    let bias = bias.map(|b| b.to_dtype(DType::F32)?.broadcast_as((batch, heads, queries, keys))).transpose()?;
    let (qs, ks, vs) = (Numbers::strided(&q_)?, Numbers::strided(&k_)?, Numbers::strided(&v_)?);
    let bs = bias.as_ref().map(Numbers::strided).transpose()?;
    let strides = |t: &Tensor| [t.stride()[0], t.stride()[1], t.stride()[2]];
    let bias = bias.as_ref().zip(bs.as_deref()).map(|(bias, values)| {
        let s = bias.stride();
        Bias { values, strides: [s[0], s[1], s[2], s[3]] }
    });
    let mut output = scumble_kernels::zeros(q.elem_count());
    let run = if halves { Attention::run_in_halves } else { Attention::run };
    run(
        shape,
        Heads { values: &qs, strides: strides(&q_) },
        Heads { values: &ks, strides: strides(&k_) },
        Heads { values: &vs, strides: strides(&v_) },
        bias,
        &mut output,
    );
    Ok(Tensor::from_vec(output, (batch, queries, heads, width), q.device())?.transpose(1, 2)?.to_dtype(q.dtype())?)
}

/// By candle, `block` queries at a time: what the kernel is held against.
fn in_blocks(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, bias: Option<&Tensor>, block: usize) -> Result<Tensor> {
    // a CPU has no products of smaller types
    let dtype = if q.device().is_cpu() { DType::F32 } else { q.dtype() };
    let wide = |t: &Tensor| t.to_dtype(dtype)?.contiguous();
    let (q_, k_, v_) = (wide(q)?, wide(k)?, wide(v)?);
    let (queries, keys) = (q_.dim(2)?, k_.transpose(2, 3)?);
    let mut parts = Vec::new();
    for start in (0..queries).step_by(block) {
        let count = block.min(queries - start);
        let bias = bias.map(|b| if b.dim(2)? == 1 { Ok(b.clone()) } else { b.narrow(2, start, count) }).transpose()?;
        let scores = (q_.narrow(2, start, count)?.matmul(&keys)? * scale)?;
        let scores = match bias {
            Some(bias) => scores.broadcast_add(&bias.to_dtype(dtype)?)?,
            None => scores,
        };
        parts.push(softmax(&scores)?.matmul(&v_)?);
    }
    let out = if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(&parts, 2)? };
    Ok(out.to_dtype(q.dtype())?)
}

/// Shares of the last dimension, computed in float32.
pub(crate) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let wide = scores.to_dtype(DType::F32)?;
    let shifted = wide.broadcast_sub(&wide.max_keepdim(D::Minus1)?)?.exp()?;
    Ok(shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?.to_dtype(scores.dtype())?)
}

/// `[batch, tokens, heads · width]` to `[batch, heads, tokens, width]`, the numbers where they are.
///
/// # Errors
/// A width that the heads do not divide.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    Ok(x.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)?)
}

/// Heads `[batch, heads, tokens, width]` of two runs of tokens, one after the other.
///
/// # Errors
/// Shapes that do not fit, or a device out of memory.
pub fn join_tokens(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let side_by_side = |t: &Tensor| -> Result<Tensor> { Ok(t.transpose(1, 2)?) };
    Ok(Tensor::cat(&[side_by_side(first)?, side_by_side(second)?], 1)?.transpose(1, 2)?)
}

/// Each head of `[batch, heads, tokens, width]` so many times, one after the other.
fn shared_heads(x: &Tensor, times: usize) -> Result<Tensor> {
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
    fn kernel_and_blocks_and_bias_agree_with_the_plain_form() -> Result<()> {
        let mut g = Generator::new(4);
        let mut draw = |heads, tokens| g.noise(&[2, heads, tokens, 8]);
        let (q, k, v) = (draw(4, 5)?, draw(2, 7)?, draw(2, 7)?);
        let (all_k, all_v) = (shared_heads(&k, 2)?, shared_heads(&v, 2)?);
        let turned = |t: &Tensor| -> Result<Tensor> { Ok(t.transpose(1, 2)?.contiguous()?.transpose(1, 2)?) };
        for bias in [None, Some(&[1, 4, 5, 7]), Some(&[2, 1, 1, 7])] {
            let bias = bias.map(|shape| Generator::new(5).noise(shape)).transpose()?;
            let scores = (q.matmul(&all_k.t()?)? * 0.3)?;
            let scores = bias.as_ref().map_or(Ok(scores.clone()), |b| scores.broadcast_add(b))?;
            let expected = softmax(&scores)?.matmul(&all_v)?;
            let close = |got: Tensor| -> Result<()> {
                let difference = (got - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(difference < 1e-6, "{difference}");
                Ok(())
            };
            for block in [1, 2, 5] {
                close(in_blocks(&q, &all_k, &all_v, 0.3, bias.as_ref(), block)?)?;
            }
            close(attention(&q, &k, &v, 0.3, bias.as_ref())?)?;
            close(attention(&turned(&q)?, &turned(&k)?, &v, 0.3, bias.as_ref())?)?;
        }
        assert!(attention(&q, &k, &all_v, 0.3, None).is_err());
        Ok(())
    }

    #[test]
    fn tokens_are_joined_wherever_heads_lie() -> Result<()> {
        let mut g = Generator::new(4);
        let (a, b) = (g.noise(&[2, 3, 4, 5])?, g.noise(&[2, 3, 1, 5])?);
        let far = (join_tokens(&a, &b)? - Tensor::cat(&[&a, &b], 2)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert_eq!(far, 0.0);
        Ok(())
    }
}
