//! The AuraFlow transformer (fal, 2024), as diffusers' `AuraFlowTransformer2DModel` names and computes it.

use candle_core::{D, DType, Tensor};

use super::blocks::{JointBlock, SingleBlock};
use crate::error::Result;
use crate::families::Probe;
use crate::families::streams::{Heads, split};
use crate::nn::{EmbedMlp, Linear, silu, sinusoid};
use crate::observer::Observer;
use crate::stages::{Canvas, crop_positions, pack, unpatch};
use crate::weights::{Config, Weights};

/// Width of the sinusoid that the noise level becomes.
const SINUSOID: usize = 256;
/// Learned tokens in front of the text.
const REGISTERS: usize = 8;

/// Sizes of an AuraFlow transformer.
#[derive(Clone, Debug)]
pub struct AuraConfig {
    /// Channels of the latents at the input.
    pub in_channels: usize,
    /// Channels of the latents at the output.
    pub out_channels: usize,
    /// Blocks in which text and image have weights of their own.
    pub joint_blocks: usize,
    /// Blocks of one stream.
    pub single_blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width of a text token at the input.
    pub text_width: usize,
    /// Rows and columns of the table of positions.
    pub side: usize,
}

impl AuraConfig {
    /// From `transformer/config.json`; absent keys mean AuraFlow v0.3.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together.
    pub fn read(config: &Config) -> Result<Self> {
        let positions = config.size_or("pos_embed_max_size", 9216)?;
        let this = Self {
            in_channels: config.size_or("in_channels", 4)?,
            out_channels: config.size_or("out_channels", 4)?,
            joint_blocks: config.size_or("num_mmdit_layers", 4)?,
            single_blocks: config.size_or("num_single_dit_layers", 32)?,
            heads: config.size_or("num_attention_heads", 12)?,
            head_width: config.size_or("attention_head_dim", 256)?,
            text_width: config.size_or("joint_attention_dim", 2048)?,
            side: positions.isqrt(),
        };
        if this.side == 0 || this.side * this.side != positions {
            return Err(config.unsupported("pos_embed_max_size", positions, "a square number"));
        }
        let width = this.width();
        for (key, default, expected) in [("patch_size", 2, 2), ("caption_projection_dim", 3072, width)] {
            let value = config.size_or(key, default)?;
            if value != expected {
                return Err(config.unsupported(key, value, &expected.to_string()));
            }
        }
        Ok(this)
    }

    /// Width of a token inside.
    pub fn width(&self) -> usize {
        self.heads * self.head_width
    }

    pub(super) fn attention(&self) -> Heads {
        Heads { count: self.heads, width: self.head_width }
    }
}

/// An AuraFlow transformer.
pub struct AuraTransformer {
    config: AuraConfig,
    image_in: Linear,
    positions: Tensor, // [1, side², width]
    text_in: Linear,
    registers: Tensor, // [1, REGISTERS, width]
    timestep: EmbedMlp,
    joint_blocks: Vec<JointBlock>,
    single_blocks: Vec<SingleBlock>,
    norm_out: Linear,
    proj_out: Linear,
}

/// What the transformer sees at one step.
pub struct AuraInputs<'a> {
    /// Latents `[batch, in_channels, h, w]`.
    pub image: &'a Tensor,
    /// Text tokens `[batch, tokens, text_width]`, zeros where there is padding.
    pub text: &'a Tensor,
    /// Noise level, 0 … 1, `[batch]`.
    pub timestep: &'a Tensor,
    /// Asked before every block.
    pub observer: &'a dyn Observer,
}

impl AuraTransformer {
    /// Loads the transformer.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &AuraConfig, w: &Weights) -> Result<Self> {
        let (width, heads) = (config.width(), config.attention());
        let (joint, single) = (w.pp("joint_transformer_blocks"), w.pp("single_transformer_blocks"));
        let embed = w.pp("pos_embed");
        Ok(Self {
            image_in: Linear::load(&embed.pp("proj"), 4 * config.in_channels, width)?,
            positions: embed.get((1, config.side * config.side, width), "pos_embed")?,
            text_in: Linear::load_no_bias(&w.pp("context_embedder"), config.text_width, width)?,
            registers: w.get((1, REGISTERS, width), "register_tokens")?,
            timestep: EmbedMlp::load(&w.pp("time_step_proj"), SINUSOID, width)?,
            joint_blocks: (0..config.joint_blocks)
                .map(|i| JointBlock::load(heads, &joint.pp(i)))
                .collect::<Result<_>>()?,
            single_blocks: (0..config.single_blocks)
                .map(|i| SingleBlock::load(heads, &single.pp(i)))
                .collect::<Result<_>>()?,
            norm_out: Linear::load_no_bias(&w.pp("norm_out").pp("linear"), width, 2 * width)?,
            proj_out: Linear::load_no_bias(&w.pp("proj_out"), width, 4 * config.out_channels)?,
            config: config.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &AuraConfig {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.image_in.dtype()
    }

    /// The velocity of every latent, `[batch, out_channels, h, w]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub(super) fn forward(&self, inputs: &AuraInputs<'_>, canvas: Canvas, probe: Option<Probe<'_>>) -> Result<Tensor> {
        let condition = silu(&self.condition(inputs.timestep)?)?;
        let mut image = self.embed_image(inputs.image, canvas)?;
        let mut text = self.embed_text(inputs.text)?;
        for (i, block) in self.joint_blocks.iter().enumerate() {
            inputs.observer.ask().check()?;
            (text, image) = block.forward(&text, &image, &condition)?;
            if let Some(probe) = probe {
                probe(&format!("joint_transformer_blocks.{i}.out.0"), &text)?;
                probe(&format!("joint_transformer_blocks.{i}.out.1"), &image)?;
            }
        }
        let tokens = text.dim(1)?;
        let mut joined = Tensor::cat(&[&text, &image], 1)?;
        drop((text, image));
        for (i, block) in self.single_blocks.iter().enumerate() {
            inputs.observer.ask().check()?;
            joined = block.forward(&joined, &condition)?;
            if let Some(probe) = probe {
                probe(&format!("single_transformer_blocks.{i}.out"), &joined)?;
            }
        }
        self.finish(&split(&joined, tokens)?.1, &condition, canvas)
    }

    fn condition(&self, timestep: &Tensor) -> Result<Tensor> {
        self.timestep.forward(&sinusoid(timestep, SINUSOID, 1000.0)?.to_dtype(self.dtype())?)
    }

    /// One token for each cell, with the positions in the middle of the table.
    fn embed_image(&self, latents: &Tensor, canvas: Canvas) -> Result<Tensor> {
        let (rows, columns) = canvas.cells();
        let middle = self.config.side / 2;
        // a grid that is larger than the table was refused by its size
        let corner = (middle.saturating_sub(rows / 2), middle.saturating_sub(columns / 2));
        let positions = crop_positions(&self.positions, (rows, columns), corner)?;
        Ok(self.image_in.forward(&pack(latents)?)?.broadcast_add(&positions)?)
    }

    fn embed_text(&self, text: &Tensor) -> Result<Tensor> {
        let text = self.text_in.forward(text)?;
        let registers = self.registers.repeat((text.dim(0)?, 1, 1))?;
        Ok(Tensor::cat(&[registers, text], 1)?)
    }

    /// No norm here, only x · (1 + scale) + shift; scale first, unlike in the blocks.
    fn finish(&self, image: &Tensor, condition: &Tensor, canvas: Canvas) -> Result<Tensor> {
        let parts = self.norm_out.forward(condition)?.unsqueeze(1)?.chunk(2, D::Minus1)?;
        let modulated = image.broadcast_mul(&(&parts[0] + 1.0)?)?.broadcast_add(&parts[1])?;
        unpatch(&self.proj_out.forward(&modulated)?, canvas)
    }
}
