//! The condition vector: noise level and pooled text.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{EmbedMlp, silu, sinusoid};
use crate::weights::Weights;

/// Width of the sinusoid that the timestep becomes.
const SINUSOID: usize = 256;

/// Both embedded, and summed.
pub(super) struct Condition {
    timestep: EmbedMlp,
    pooled: EmbedMlp,
}

impl Condition {
    pub(super) fn load(w: &Weights, pooled_width: usize, width: usize) -> Result<Self> {
        Ok(Self {
            timestep: EmbedMlp::load(&w.pp("timestep_embedder"), SINUSOID, width)?,
            pooled: EmbedMlp::load(&w.pp("text_embedder"), pooled_width, width)?,
        })
    }

    /// `[batch, width]`, ready for modulation: behind its SiLU. The timestep is 1000 times the noise level, `[batch]`.
    pub(super) fn forward(&self, timestep: &Tensor, pooled: &Tensor) -> Result<Tensor> {
        let timestep = sinusoid(timestep, SINUSOID, 1.0)?.to_dtype(self.timestep.dtype())?;
        silu(&(self.timestep.forward(&timestep)? + self.pooled.forward(pooled)?)?)
    }
}
