//! Activations.

use candle_core::{D, DType, Tensor};
use scumble_kernels::{Activation, activate};

use super::card;
use super::kernel::{each_row, runs_here};
use super::then::Then;
use crate::error::Result;

/// x · σ(x).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply(x, Activation::Silu)
}

/// Applies an activation to each number.
///
/// # Errors
/// A device out of memory.
pub(super) fn apply(x: &Tensor, kind: Activation) -> Result<Tensor> {
    if runs_here(x) {
        return Ok(each_row(x, |input, _, output| activate(kind, input, output))?);
    }
    let then = Then { activation: Some(kind), ..Then::default() };
    card::finished(x, None, then)?.map_or_else(|| plain(x, kind), Ok)
}

/// The oracle: computed in float32, rounded once.
fn plain(x: &Tensor, kind: Activation) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let sigmoid = |t: &Tensor| -> candle_core::Result<Tensor> { (t.neg()?.exp()? + 1.0)?.recip() };
    let y = match kind {
        Activation::Silu => (&wide * sigmoid(&wide)?)?,
        Activation::QuickGelu => (&wide * sigmoid(&(&wide * 1.702)?)?)?,
        Activation::GeluTanh => wide.gelu()?,
        Activation::Gelu => wide.gelu_erf()?,
    };
    debug_assert_eq!(y.dim(D::Minus1).ok(), x.dim(D::Minus1).ok());
    Ok(y.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernel::numbers;

    #[test]
    fn kernels_agree_with_the_plain_form() -> Result<()> {
        let x = Tensor::arange(-40f32, 40f32, &candle_core::Device::Cpu)?.affine(0.2, 0.03)?.reshape((8, 10))?;
        for dtype in [DType::F32, DType::BF16] {
            let x = x.to_dtype(dtype)?;
            for kind in [Activation::Silu, Activation::GeluTanh, Activation::Gelu, Activation::QuickGelu] {
                let (a, b) = (numbers(&apply(&x, kind)?)?, numbers(&plain(&x, kind)?)?);
                let step = if dtype == DType::F32 { 1e-6 } else { 1.0 / 128.0 };
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= step * (1.0 + b.abs())), "{kind:?} {dtype:?}");
            }
        }
        Ok(())
    }
}
