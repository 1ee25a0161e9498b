//! Numbers as vectors: sinusoids and the small networks behind them.

use candle_core::{DType, Tensor};

use super::{Activation, Linear};
use crate::error::Result;
use crate::weights::Weights;

/// cos, then sin, of x · 10000^(−i / half) for i < half = `width` / 2, the product taken times `scale`: `[batch]` to
/// `[batch, width]`, float32 throughout.
///
/// # Errors
/// A device out of memory.
pub fn sinusoid(x: &Tensor, width: usize, scale: f64) -> Result<Tensor> {
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half).map(|i| (-(10000f64.ln() as f32) * i as f32 / half as f32).exp()).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), x.device())?;
    let angles = (x.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&frequencies)? * scale)?;
    Ok(Tensor::cat(&[angles.cos()?, angles.sin()?], 1)?)
}

/// Two matrices with SiLU between them, as diffusers' `TimestepEmbedding` names them.
#[derive(Clone, Debug)]
pub struct EmbedMlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl EmbedMlp {
    /// `linear_1` `[width, input]` and `linear_2` `[width, width]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, input: usize, width: usize) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::load(&w.pp("linear_1"), input, width)?,
            linear_2: Linear::load(&w.pp("linear_2"), width, width)?,
        })
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.linear_1.dtype()
    }

    /// `[batch, input]` to `[batch, width]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.linear_2.forward(&self.linear_1.activated(x, Activation::Silu)?)
    }
}
