//! Normalisations.

use candle_core::{D, DType, Tensor};

use super::activation::silu;
use super::card;
use super::kernel::{Numbers, each_row, in_order, runs_here, unfit};
use crate::error::Result;
use crate::weights::Weights;

/// Layer norm with weight and bias over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gain: Tensor,
    offset: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias`, each `[width]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { gain: w.get(width, "weight")?, offset: w.get(width, "bias")?, eps })
    }

    /// Any shape that ends in `width`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.gain, &self.offset, self.eps)
    }
}

/// Layer norm without weights, then modulation: LN(x) · (1 + scale) + shift.
///
/// `x` is `[batch, tokens, width]`; `shift` and `scale` are `[batch, width]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn modulated_norm(x: &Tensor, shift: &Tensor, scale: &Tensor, eps: f64) -> Result<Tensor> {
    if let Some(y) = card::layer_norm(x, (Some(scale), 1), Some(shift), eps)? {
        return Ok(y);
    }
    let gain = (scale.to_dtype(DType::F32)? + 1.0)?;
    layer_norm(x, &gain, shift, eps)
}

/// Layer norm without weights over the last dimension.
///
/// # Errors
/// A device out of memory.
pub fn standardised(x: &Tensor, eps: f64) -> Result<Tensor> {
    if runs_here(x) {
        let row = x.dim(D::Minus1)?;
        return Ok(each_row(x, |input, _, output| {
            scumble_kernels::layer_norm(input, row, eps as f32, &[], &[], output);
        })?);
    }
    let plain = || Ok(plain_standardised(x, eps)?.to_dtype(x.dtype())?);
    card::layer_norm(x, (None, 0), None, eps)?.map_or_else(plain, Ok)
}

/// `gain` and `offset` are `[width]`, or `[batch, width]` for an `x` of `[batch, tokens, width]`.
fn layer_norm(x: &Tensor, gain: &Tensor, offset: &Tensor, eps: f64) -> Result<Tensor> {
    if runs_here(x) {
        let row = x.dim(D::Minus1)?;
        let (gain, offset) = (in_order(gain)?, in_order(offset)?);
        let (gain, offset) = (Numbers::of(&gain)?, Numbers::of(&offset)?);
        return Ok(each_row(x, |input, _, output| {
            scumble_kernels::layer_norm(input, row, eps as f32, &gain, &offset, output);
        })?);
    }
    card::layer_norm(x, (Some(gain), 0), Some(offset), eps)?.map_or_else(|| plain_layer_norm(x, gain, offset, eps), Ok)
}

/// (x − mean) / √(variance + eps), float32.
fn plain_standardised(x: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(centred.broadcast_div(&(variance + eps)?.sqrt()?)?)
}

fn plain_layer_norm(x: &Tensor, gain: &Tensor, offset: &Tensor, eps: f64) -> Result<Tensor> {
    let y = plain_standardised(x, eps)?;
    let per_batch = |t: &Tensor| -> Result<Tensor> {
        let t = t.to_dtype(DType::F32)?;
        Ok(if t.rank() == 2 { t.unsqueeze(1)? } else { t })
    };
    let y = y.broadcast_mul(&per_batch(gain)?)?.broadcast_add(&per_batch(offset)?)?;
    Ok(y.to_dtype(x.dtype())?)
}

/// RMS norm with weight over the last dimension.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    gain: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// `weight` `[width]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { gain: w.get(width, "weight")?, eps })
    }

    /// Any shape that ends in `width`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if runs_here(x) {
            let gain = in_order(&self.gain)?;
            let gain = Numbers::of(&gain)?;
            return Ok(each_row(x, |input, _, output| {
                scumble_kernels::rms_norm(input, self.eps as f32, &gain, output);
            })?);
        }
        card::rms_norm(x, Some(&self.gain), self.eps)?.map_or_else(|| self.plain(x), Ok)
    }

    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let y = plain_unit_rms(x, self.eps)?;
        Ok(y.broadcast_mul(&self.gain.to_dtype(DType::F32)?)?.to_dtype(x.dtype())?)
    }
}

/// RMS norm without weights over the last dimension.
///
/// # Errors
/// A device out of memory.
pub fn unit_rms(x: &Tensor, eps: f64) -> Result<Tensor> {
    if runs_here(x) {
        let gain = vec![1.0; x.dim(D::Minus1)?];
        return Ok(each_row(x, |input, _, output| scumble_kernels::rms_norm(input, eps as f32, &gain, output))?);
    }
    let plain = || Ok(plain_unit_rms(x, eps)?.to_dtype(x.dtype())?);
    card::rms_norm(x, None, eps)?.map_or_else(plain, Ok)
}

/// x / √(mean of squares + eps), float32.
fn plain_unit_rms(x: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(wide.broadcast_div(&(mean_square + eps)?.sqrt()?)?)
}

/// Group norm with weight and bias over `[batch, height, width, channels]`.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    gain: Tensor,
    offset: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// `weight` and `bias`, each `[channels]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, groups: usize, channels: usize, eps: f64) -> Result<Self> {
        Ok(Self { gain: w.get(channels, "weight")?, offset: w.get(channels, "bias")?, groups, eps })
    }

    /// The norm alone.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    /// The norm, then SiLU.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true)
    }

    fn apply(&self, x: &Tensor, then_silu: bool) -> Result<Tensor> {
        if runs_here(x) {
            let (_, height, width, channels) = x.dims4()?;
            if channels != self.gain.elem_count() {
                let reason = format!("a norm of {} channels got {:?}", self.gain.elem_count(), x.dims());
                return Err(unfit(reason));
            }
            let (gain, offset) = (in_order(&self.gain)?, in_order(&self.offset)?);
            let shape = scumble_kernels::GroupNorm {
                area: height * width,
                groups: self.groups,
                eps: self.eps as f32,
                gain: &Numbers::of(&gain)?,
                offset: &Numbers::of(&offset)?,
                silu: then_silu,
            };
            return Ok(each_row(x, |input, _, output| scumble_kernels::group_norm(&shape, input, output))?);
        }
        if let Some(y) = card::group_norm(x, (&self.gain, &self.offset), self.groups, self.eps, then_silu)? {
            return Ok(y);
        }
        let y = self.plain(x)?;
        if then_silu { silu(&y) } else { Ok(y) }
    }

    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = x.dims4()?;
        let size = channels / self.groups;
        // [batch, groups, places · channels of a group]
        let wide = x.to_dtype(DType::F32)?.reshape((batch, height * width, self.groups, size))?.transpose(1, 2)?;
        let wide = wide.reshape((batch, self.groups, height * width * size))?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(2)?)?;
        let variance = centred.sqr()?.mean_keepdim(2)?;
        let y = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        let y = y.reshape((batch, self.groups, height * width, size))?.transpose(1, 2)?;
        let y = y.reshape((batch, height, width, channels))?;
        let y = y.broadcast_mul(&self.gain.to_dtype(DType::F32)?)?.broadcast_add(&self.offset.to_dtype(DType::F32)?)?;
        Ok(y.to_dtype(x.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernel::numbers;
    use crate::rng::Generator;

    fn close(a: &Tensor, b: &Tensor) -> Result<()> {
        let (a, b) = (numbers(a)?, numbers(b)?);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 2e-5), "kernel and plain form differ");
        Ok(())
    }

    #[test]
    fn kernels_agree_with_the_plain_forms() -> Result<()> {
        let mut g = Generator::new(3);
        let x = (g.noise(&[2, 5, 24])? + 0.5)?;
        let (shift, scale) = (g.noise(&[2, 24])?, g.noise(&[2, 24])?);
        close(&modulated_norm(&x, &shift, &scale, 1e-6)?, &plain_layer_norm(&x, &(&scale + 1.0)?, &shift, 1e-6)?)?;
        close(&standardised(&x, 1e-5)?, &plain_standardised(&x, 1e-5)?)?;
        let rms = RmsNorm { gain: g.noise(&[24])?, eps: 1e-6 };
        close(&rms.forward(&x)?, &rms.plain(&x)?)?;
        close(&unit_rms(&x, 1e-6)?, &plain_unit_rms(&x, 1e-6)?)?;
        let group = GroupNorm { gain: g.noise(&[24])?, offset: g.noise(&[24])?, groups: 4, eps: 1e-6 };
        let picture = g.noise(&[2, 3, 7, 24])?;
        close(&group.forward(&picture)?, &group.plain(&picture)?)?;
        close(&group.forward_silu(&picture)?, &silu(&group.plain(&picture)?)?)
    }
}
