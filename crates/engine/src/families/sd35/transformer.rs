//! The MMDiT of Stable Diffusion 3.5 (Esser et al., 2024), as diffusers' `SD3Transformer2DModel` names and computes it.

use candle_core::{D, DType, Tensor};

use super::blocks::JointBlock;
use super::condition::Condition;
use super::ip_adapter::PictureAttention;
use crate::error::Result;
use crate::families::Probe;
use crate::families::streams::{EPS, Heads};
use crate::nn::{Linear, modulated_norm};
use crate::observer::Observer;
use crate::stages::{Canvas, crop_positions, pack, unpatch};
use crate::weights::{Config, Weights};

/// Sizes of an SD3.5 transformer.
#[derive(Clone, Debug)]
pub struct Sd35Config {
    /// Channels of the latents at the input.
    pub in_channels: usize,
    /// Channels of the latents at the output.
    pub out_channels: usize,
    /// Blocks.
    pub blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width of a text token at the input.
    pub text_width: usize,
    /// Width of the pooled text.
    pub pooled_width: usize,
    /// Rows and columns of the table of positions.
    pub side: usize,
}

impl Sd35Config {
    /// From `transformer/config.json`; absent keys mean SD3.5 Large.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together, or blocks that only other models of the family have.
    pub fn read(config: &Config) -> Result<Self> {
        let this = Self {
            in_channels: config.size_or("in_channels", 16)?,
            out_channels: config.size_or("out_channels", 16)?,
            blocks: config.size_or("num_layers", 38)?,
            heads: config.size_or("num_attention_heads", 38)?,
            head_width: config.size_or("attention_head_dim", 64)?,
            text_width: config.size_or("joint_attention_dim", 4096)?,
            pooled_width: config.size_or("pooled_projection_dim", 2048)?,
            side: config.size_or("pos_embed_max_size", 192)?,
        };
        let width = this.width();
        for (key, default, expected) in [("patch_size", 2, 2), ("caption_projection_dim", 2432, width)] {
            let value = config.size_or(key, default)?;
            if value != expected {
                return Err(config.unsupported(key, value, &expected.to_string()));
            }
        }
        let dual = config.sizes_or("dual_attention_layers", &[])?;
        if !dual.is_empty() {
            return Err(config.unsupported("dual_attention_layers", format!("{dual:?}"), "none (3.5 Large)"));
        }
        let norm = config.text_or("qk_norm", "rms_norm");
        if norm != "rms_norm" {
            return Err(config.unsupported("qk_norm", norm, "rms_norm"));
        }
        if this.blocks == 0 || this.side == 0 {
            let key = if this.blocks == 0 { "num_layers" } else { "pos_embed_max_size" };
            return Err(config.unsupported(key, 0, "at least 1"));
        }
        Ok(this)
    }

    /// Width of a token inside.
    pub fn width(&self) -> usize {
        self.heads * self.head_width
    }
}

/// An SD3.5 transformer.
pub struct Sd35Transformer {
    config: Sd35Config,
    image_in: Linear,
    positions: Tensor, // [1, side², width]
    text_in: Linear,
    condition: Condition,
    blocks: Vec<JointBlock>,
    norm_out: Linear,
    proj_out: Linear,
}

/// What the transformer sees at one step.
pub struct Sd35Inputs<'a> {
    /// Latents `[batch, in_channels, h, w]`.
    pub image: &'a Tensor,
    /// Text tokens `[batch, tokens, text_width]`.
    pub text: &'a Tensor,
    /// Pooled text `[batch, pooled_width]`.
    pub pooled: &'a Tensor,
    /// 1000 times the noise level, `[batch]`, float32.
    pub timestep: &'a Tensor,
    /// Asked before every block.
    pub observer: &'a dyn Observer,
}

/// What adapters add to a step.
#[derive(Default)]
pub(super) struct StepGuides<'a> {
    /// A ControlNet's, each `[batch, cells, width]`, spread evenly over the blocks; none without one.
    pub(super) residuals: Vec<Tensor>,
    /// An IP-Adapter's attention to its picture.
    pub(super) picture: Option<&'a PictureAttention<'a>>,
}

impl StepGuides<'_> {
    /// What is added after a block. The last one gets nothing.
    fn residual(&self, block: usize, blocks: usize) -> Option<&Tensor> {
        let count = self.residuals.len();
        // divided in this way as diffusers does, whose floor it is
        let place = (block as f64 / (blocks as f64 / count as f64)) as usize;
        (block + 1 < blocks).then(|| self.residuals.get(place)).flatten()
    }
}

impl Sd35Transformer {
    /// Loads the transformer.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &Sd35Config, w: &Weights) -> Result<Self> {
        let width = config.width();
        let heads = Heads { count: config.heads, width: config.head_width };
        let (embed, blocks) = (w.pp("pos_embed"), w.pp("transformer_blocks"));
        Ok(Self {
            image_in: Linear::load_patches(&embed.pp("proj"), config.in_channels, 2, width)?,
            positions: embed.get((1, config.side * config.side, width), "pos_embed")?,
            text_in: Linear::load(&w.pp("context_embedder"), config.text_width, width)?,
            condition: Condition::load(&w.pp("time_text_embed"), config.pooled_width, width)?,
            blocks: (0..config.blocks)
                .map(|i| JointBlock::load(heads, &blocks.pp(i), i + 1 == config.blocks))
                .collect::<Result<_>>()?,
            norm_out: Linear::load(&w.pp("norm_out").pp("linear"), width, 2 * width)?,
            proj_out: Linear::load(&w.pp("proj_out"), width, 4 * config.out_channels)?,
            config: config.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &Sd35Config {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.image_in.dtype()
    }

    /// The velocity of every latent, `[batch, out_channels, h, w]`.
    pub(super) fn forward(
        &self,
        inputs: &Sd35Inputs<'_>,
        guides: &StepGuides<'_>,
        canvas: Canvas,
        probe: Option<Probe<'_>>,
    ) -> Result<Tensor> {
        let condition = self.condition.forward(inputs.timestep, inputs.pooled)?;
        let mut image = self.embed_image(inputs.image, canvas)?;
        let mut text = Some(self.text_in.forward(inputs.text)?);
        for (i, block) in self.blocks.iter().enumerate() {
            let Some(tokens) = &text else { break };
            inputs.observer.ask().check()?;
            (image, text) = block.forward(&image, tokens, &condition, guides.picture.map(|picture| (picture, i)))?;
            if let Some(probe) = probe {
                text.iter().try_for_each(|text| probe(&format!("transformer_blocks.{i}.out.0"), text))?;
                probe(&format!("transformer_blocks.{i}.out.1"), &image)?;
            }
            if let Some(residual) = guides.residual(i, self.blocks.len()) {
                image = (image + residual)?;
            }
        }
        // scale first here, unlike in the blocks
        let parts = self.norm_out.forward(&condition)?.chunk(2, D::Minus1)?;
        unpatch(&self.proj_out.forward(&modulated_norm(&image, &parts[1], &parts[0], EPS)?)?, canvas)
    }

    /// One token for each cell, with the positions in the middle of the table.
    pub(super) fn embed_image(&self, latents: &Tensor, canvas: Canvas) -> Result<Tensor> {
        let (rows, columns) = canvas.cells();
        // a grid that is larger than the table was refused by its size
        let corner = |cells: usize| self.config.side.saturating_sub(cells) / 2;
        let positions = crop_positions(&self.positions, (rows, columns), (corner(rows), corner(columns)))?;
        Ok(self.image_in.forward(&pack(latents)?)?.broadcast_add(&positions)?)
    }
}
