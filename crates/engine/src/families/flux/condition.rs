//! The condition vector: noise level, guidance and pooled text.

use candle_core::{DType, Tensor};

use super::transformer::{FluxConfig, FluxInputs};
use crate::error::{Error, Result};
use crate::nn::{EmbedMlp, sinusoid};
use crate::weights::Weights;

/// Width of the sinusoid that a number becomes.
const SINUSOID: usize = 256;

/// Sum of up to three embedded inputs.
pub(super) struct Condition {
    timestep: EmbedMlp,
    guidance: Option<EmbedMlp>,
    text: EmbedMlp,
}

impl Condition {
    pub(super) fn load(config: &FluxConfig, w: &Weights) -> Result<Self> {
        let width = config.width();
        let guidance = || EmbedMlp::load(&w.pp("guidance_embedder"), SINUSOID, width);
        Ok(Self {
            timestep: EmbedMlp::load(&w.pp("timestep_embedder"), SINUSOID, width)?,
            guidance: config.guidance.then(guidance).transpose()?,
            text: EmbedMlp::load(&w.pp("text_embedder"), config.pooled_width, width)?,
        })
    }

    /// `[batch, width]`.
    pub(super) fn forward(&self, inputs: &FluxInputs<'_>) -> Result<Tensor> {
        let dtype = inputs.image.dtype();
        let mut sum = self.timestep.forward(&thousandfold(inputs.timestep, dtype)?)?;
        if let Some(mlp) = &self.guidance {
            let guidance = inputs.guidance.ok_or(Error::Parameter {
                name: "guidance_scale",
                problem: "is needed: this checkpoint takes guidance as an input".into(),
            })?;
            sum = (sum + mlp.forward(&thousandfold(guidance, dtype)?)?)?;
        }
        Ok((sum + self.text.forward(inputs.pooled)?)?)
    }
}

/// The sinusoid of 1000 x. The product is rounded to the model's type before the angles are taken in float32, as the
/// reference does.
fn thousandfold(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let scaled = (x.to_dtype(dtype)? * 1000.0)?;
    Ok(sinusoid(&scaled, SINUSOID, 1.0)?.to_dtype(dtype)?)
}
