//! The F-Lite transformer (Freepik and fal, 2025), under the names of its published files.

use candle_core::{D, DType, Tensor};

use super::blocks::{Block, Norm, Surroundings};
use super::config::FLiteConfig;
use super::positions::Positions;
use crate::error::Result;
use crate::families::Probe;
use crate::nn::{Activation, Linear, silu, sinusoid};
use crate::observer::Observer;
use crate::stages::{Canvas, pack, unpatch};
use crate::weights::Weights;

/// Learned tokens in front of the picture's.
pub(super) const REGISTERS: usize = 16;

/// An F-Lite transformer.
pub struct FLiteTransformer {
    config: FLiteConfig,
    image_in: Linear,
    registers: Tensor, // [1, REGISTERS, width]
    positions: Positions,
    time_in: Linear,
    time_out: Linear,
    blocks: Vec<Block>,
    final_norm: Norm,
    final_modulation: Linear,
    final_proj: Linear,
}

/// What the transformer sees at one step.
pub struct FLiteInputs<'a> {
    /// Latents `[batch, channels, h, w]`.
    pub image: &'a Tensor,
    /// Text tokens `[batch, tokens, text_width]`.
    pub text: &'a Tensor,
    /// Noise level, above 0 and up to 1, `[batch]`.
    pub level: &'a Tensor,
    /// Asked before every block.
    pub observer: &'a dyn Observer,
}

impl FLiteTransformer {
    /// Loads the transformer.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &FLiteConfig, w: &Weights) -> Result<Self> {
        let width = config.width;
        let (blocks, time) = (w.pp("blocks"), w.pp("time_embed"));
        Ok(Self {
            image_in: Linear::load_patches(&w.pp("patch_embed").pp("patch_proj"), config.channels, 2, width)?,
            registers: w.get((1, REGISTERS, width), "register_tokens")?,
            positions: Positions::load(config, &w.pp("rope"))?,
            time_in: Linear::load(&time.pp(0), width, 4 * width)?,
            time_out: Linear::load(&time.pp(2), 4 * width, width)?,
            blocks: (0..config.depth).map(|i| Block::load(config, &blocks.pp(i))).collect::<Result<_>>()?,
            final_norm: Norm::load(config, &w.pp("final_norm"))?,
            final_modulation: Linear::load(&w.pp("final_modulation").pp(1), width, 2 * width)?,
            final_proj: Linear::load(&w.pp("final_proj"), width, 4 * config.channels)?,
            config: config.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &FLiteConfig {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.image_in.dtype()
    }

    /// Where every latent goes, from noise to picture: `[batch, channels, h, w]`. Other models' velocities lead the other
    /// way.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub(super) fn forward(&self, inputs: &FLiteInputs<'_>, canvas: Canvas, probe: Option<Probe<'_>>) -> Result<Tensor> {
        let condition = silu(&self.condition(inputs.level)?)?;
        let turns = self.positions.of(canvas.cells(), inputs.image.device())?;
        let around = Surroundings { text: inputs.text, condition: &condition, turns: &turns };
        let mut x = self.embed(inputs.image)?;
        let mut first = None;
        for (i, block) in self.blocks.iter().enumerate() {
            inputs.observer.ask().check()?;
            x = block.forward(&x, &around, &mut first)?;
            if let Some(probe) = probe {
                probe(&format!("blocks.{i}.out"), &x)?;
            }
        }
        self.finish(&x, &condition, canvas)
    }

    fn condition(&self, level: &Tensor) -> Result<Tensor> {
        // times 1000 in float32 first: the angles are large, and their last bits show
        let thousandfold = (level.to_dtype(DType::F32)? * 1000.0)?;
        let waves = sinusoid(&thousandfold, self.config.width, 1.0)?.to_dtype(self.dtype())?;
        self.time_out.forward(&self.time_in.activated(&waves, Activation::Silu)?)
    }

    /// The registers, and one token for each cell.
    fn embed(&self, latents: &Tensor) -> Result<Tensor> {
        let image = self.image_in.forward(&pack(latents)?)?;
        let registers = self.registers.repeat((image.dim(0)?, 1, 1))?;
        Ok(Tensor::cat(&[registers, image], 1)?)
    }

    fn finish(&self, x: &Tensor, condition: &Tensor, canvas: Canvas) -> Result<Tensor> {
        let parts = self.final_modulation.forward(condition)?.chunk(2, D::Minus1)?;
        let image = x.narrow(1, REGISTERS, x.dim(1)? - REGISTERS)?;
        let modulated = self.final_norm.modulated(&image, &parts[0], &parts[1])?;
        unpatch(&self.final_proj.forward(&modulated)?, canvas)
    }
}
