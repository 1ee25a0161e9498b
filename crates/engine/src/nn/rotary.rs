//! Rotary position embedding.

use candle_core::{DType, Device, Tensor};

use super::card;
use super::kernel::{Numbers, each_row, runs_here};
use crate::error::Result;

/// The angles of a sequence: `cos` and `sin`, each `[tokens, width / 2]`, float32.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// Angles for positions on several axes: axis `a` of width `axes[a]` turns pair i by
    /// `position · theta^(−2i / axes[a])`. Computed in float64, kept in float32, as the reference does.
    ///
    /// `positions` holds one entry per axis for each token.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn new(positions: &[Vec<u32>], axes: &[usize], theta: f64, device: &Device) -> Result<Self> {
        let half: usize = axes.iter().map(|w| w / 2).sum();
        let mut cos = Vec::with_capacity(positions.len() * half);
        let mut sin = Vec::with_capacity(positions.len() * half);
        for token in positions {
            for (position, width) in token.iter().zip(axes) {
                for i in 0..width / 2 {
                    let angle = f64::from(*position) * theta.powf(-((2 * i) as f64) / *width as f64);
                    cos.push(angle.cos() as f32);
                    sin.push(angle.sin() as f32);
                }
            }
        }
        let shape = (positions.len(), half);
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }

    /// Angles of the positions 0 to `tokens` − 1 on one axis, one frequency for each pair; computed in float32, as language
    /// models do.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn of_line(tokens: usize, frequencies: &[f32], device: &Device) -> Result<Self> {
        let angles = || (0..tokens).flat_map(|token| frequencies.iter().map(move |f| token as f32 * f));
        let (cos, sin): (Vec<f32>, Vec<f32>) = (angles().map(f32::cos).collect(), angles().map(f32::sin).collect());
        let shape = (tokens, frequencies.len());
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }

    /// Rotates pairs whose members are half a head apart in `[batch, heads, tokens, width]`, in float32: what language
    /// models do.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn apply_halves(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(3)? / 2;
        let wide = x.to_dtype(DType::F32)?;
        let (a, b) = (wide.narrow(3, 0, half)?, wide.narrow(3, half, half)?);
        let first = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let second = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        Ok(Tensor::cat(&[first, second], 3)?.to_dtype(x.dtype())?)
    }

    /// Rotates neighbouring pairs of `[batch, heads, tokens, width]`, in float32.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        if runs_here(x) {
            let (row, cos, sin) = (x.dim(3)?, Numbers::of(&self.cos)?, Numbers::of(&self.sin)?);
            return Ok(each_row(x, |input, heads, output| {
                scumble_kernels::rotate_pairs(input, row, heads, &cos, &sin, output);
            })?);
        }
        card::normed_and_turned(x, None, Some((&self.cos, &self.sin)))?.map_or_else(|| self.plain(x), Ok)
    }

    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, heads, tokens, width) = x.dims4()?;
        let pairs = x.to_dtype(DType::F32)?.reshape((batch, heads, tokens, width / 2, 2))?;
        let (a, b) = (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?);
        let first = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let second = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        let y = Tensor::stack(&[first, second], 4)?.reshape((batch, heads, tokens, width))?;
        Ok(y.to_dtype(x.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernel::numbers;
    use crate::rng::Generator;

    #[test]
    fn the_kernel_agrees_with_the_plain_form() -> Result<()> {
        let positions: Vec<Vec<u32>> = (0..6).map(|i| vec![0, i / 3, i % 3]).collect();
        let rotary = Rotary::new(&positions, &[4, 6, 6], 10000.0, &Device::Cpu)?;
        let x = Generator::new(1).noise(&[2, 3, 6, 16])?;
        let (a, b) = (numbers(&rotary.apply(&x)?)?, numbers(&rotary.plain(&x)?)?);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));
        let side_by_side = x.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
        assert_eq!(numbers(&rotary.apply(&side_by_side)?)?, a, "where heads lie changes nothing");
        Ok(())
    }
}
