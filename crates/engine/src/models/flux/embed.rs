//! The condition vector: noise level, guidance and pooled text.

use candle_core::{DType, Tensor};

use super::{FluxConfig, FluxInputs};
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::nn::{Linear, silu};

/// Width of the sinusoid that a number becomes.
const SINUSOID: usize = 256;

/// Sum of up to three embedded inputs.
pub(super) struct Condition {
    timestep: Mlp,
    guidance: Option<Mlp>,
    text: Mlp,
}

impl Condition {
    pub(super) fn load(config: &FluxConfig, w: &Weights) -> Result<Self> {
        let width = config.width();
        let guidance = || Mlp::load(&w.pp("guidance_embedder"), SINUSOID, width);
        Ok(Self {
            timestep: Mlp::load(&w.pp("timestep_embedder"), SINUSOID, width)?,
            guidance: config.guidance.then(guidance).transpose()?,
            text: Mlp::load(&w.pp("text_embedder"), config.pooled_width, width)?,
        })
    }

    /// `[batch, width]`.
    pub(super) fn forward(&self, inputs: &FluxInputs<'_>) -> Result<Tensor> {
        let dtype = inputs.image.dtype();
        let mut sum = self.timestep.forward(&sinusoid(inputs.timestep, dtype)?)?;
        if let Some(mlp) = &self.guidance {
            let guidance = inputs.guidance.ok_or(Error::Parameter {
                name: "guidance_scale",
                problem: "is needed: this checkpoint takes guidance as an input".into(),
            })?;
            sum = (sum + mlp.forward(&sinusoid(guidance, dtype)?)?)?;
        }
        Ok((sum + self.text.forward(inputs.pooled)?)?)
    }
}

/// cos, then sin, of 1000 x · 10000^(−i/128) for i < 128: `[batch]` to `[batch, 256]`.
///
/// The product with 1000 is rounded to the model's type before the angles are taken in float32, as the reference does.
fn sinusoid(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let half = SINUSOID / 2;
    let frequencies: Vec<f32> = (0..half).map(|i| (-(10000f64.ln() as f32) * i as f32 / half as f32).exp()).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), x.device())?;
    let scaled = (x.to_dtype(dtype)? * 1000.0)?.to_dtype(DType::F32)?;
    let angles = scaled.unsqueeze(1)?.broadcast_mul(&frequencies)?;
    Ok(Tensor::cat(&[angles.cos()?, angles.sin()?], 1)?.to_dtype(dtype)?)
}

struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl Mlp {
    fn load(w: &Weights, input: usize, width: usize) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::load(&w.pp("linear_1"), input, width)?,
            linear_2: Linear::load(&w.pp("linear_2"), width, width)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.linear_2.forward(&silu(&self.linear_1.forward(x)?)?)
    }
}
