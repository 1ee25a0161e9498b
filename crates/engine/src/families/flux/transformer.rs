//! The FLUX.1 transformer (Black Forest Labs, 2024), as diffusers' `FluxTransformer2DModel` names and computes it.

use candle_core::{D, DType, Tensor};

use super::blocks::{DoubleBlock, SingleBlock};
use super::condition::Condition;
use crate::error::Result;
use crate::families::Probe;
use crate::families::streams::{EPS, split};
use crate::nn::{Linear, Rotary, modulated_norm, silu};
use crate::observer::Observer;
use crate::stages::FirstBlock;
use crate::weights::{Config, Weights};

/// Base of the rotary frequencies.
const THETA: f64 = 10000.0;

/// Sizes of a FLUX transformer.
#[derive(Clone, Debug)]
pub struct FluxConfig {
    /// Features of an image token at the input: packed latents, and conditions where a variant has them.
    pub in_channels: usize,
    /// Features of an image token at the output.
    pub out_channels: usize,
    /// Double blocks: text and image with weights of their own.
    pub double_blocks: usize,
    /// Single blocks: one stream.
    pub single_blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width of a text token at the input.
    pub text_width: usize,
    /// Width of the pooled text.
    pub pooled_width: usize,
    /// Whether guidance is an input.
    pub guidance: bool,
    /// Widths of the rotary axes; their sum is `head_width`.
    pub axes: Vec<usize>,
}

impl FluxConfig {
    /// From `transformer/config.json`; absent keys mean FLUX.1.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together.
    pub fn read(config: &Config) -> Result<Self> {
        let in_channels = config.size_or("in_channels", 64)?;
        let this = Self {
            in_channels,
            out_channels: config.size_or("out_channels", in_channels)?,
            double_blocks: config.size_or("num_layers", 19)?,
            single_blocks: config.size_or("num_single_layers", 38)?,
            heads: config.size_or("num_attention_heads", 24)?,
            head_width: config.size_or("attention_head_dim", 128)?,
            text_width: config.size_or("joint_attention_dim", 4096)?,
            pooled_width: config.size_or("pooled_projection_dim", 768)?,
            guidance: config.flag_or("guidance_embeds", false)?,
            axes: config.sizes_or("axes_dims_rope", &[16, 56, 56])?,
        };
        let patch = config.size_or("patch_size", 1)?;
        if patch != 1 {
            return Err(config.unsupported("patch_size", patch, "1"));
        }
        let fits = this.axes.len() == 3
            && this.axes.iter().sum::<usize>() == this.head_width
            && this.axes.iter().all(|a| a.is_multiple_of(2));
        if !fits {
            let wanted = format!("three even widths that add up to attention_head_dim, {}", this.head_width);
            return Err(config.unsupported("axes_dims_rope", format!("{:?}", this.axes), &wanted));
        }
        Ok(this)
    }

    /// Width of a token inside.
    pub fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// The angles of `text` text tokens, all at the origin, followed by a grid of image tokens.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn rotary(&self, text: usize, rows: usize, columns: usize, device: &candle_core::Device) -> Result<Rotary> {
        let mut positions = vec![vec![0, 0, 0]; text];
        for row in 0..rows as u32 {
            positions.extend((0..columns as u32).map(|column| vec![0, row, column]));
        }
        Rotary::new(&positions, &self.axes, THETA, device)
    }
}

/// A FLUX transformer.
pub struct FluxTransformer {
    config: FluxConfig,
    image_in: Linear,
    text_in: Linear,
    condition: Condition,
    double_blocks: Vec<DoubleBlock>,
    single_blocks: Vec<SingleBlock>,
    norm_out: Linear,
    proj_out: Linear,
}

/// What the transformer sees at one step.
pub struct FluxInputs<'a> {
    /// Image tokens `[batch, rows · columns, in_channels]`.
    pub image: &'a Tensor,
    /// Text tokens `[batch, tokens, text_width]`.
    pub text: &'a Tensor,
    /// Pooled text `[batch, pooled_width]`.
    pub pooled: &'a Tensor,
    /// Noise level, 0 … 1, `[batch]`, float32.
    pub timestep: &'a Tensor,
    /// Guidance scale `[batch]`, float32; ignored by models without guidance embedding.
    pub guidance: Option<&'a Tensor>,
    /// Angles of the text tokens, then the image tokens.
    pub rotary: &'a Rotary,
    /// Asked before every block.
    pub observer: &'a dyn Observer,
}

impl FluxTransformer {
    /// Loads the transformer.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &FluxConfig, w: &Weights) -> Result<Self> {
        let width = config.width();
        let (doubles, singles) = (w.pp("transformer_blocks"), w.pp("single_transformer_blocks"));
        Ok(Self {
            image_in: Linear::load(&w.pp("x_embedder"), config.in_channels, width)?,
            text_in: Linear::load(&w.pp("context_embedder"), config.text_width, width)?,
            condition: Condition::load(config, &w.pp("time_text_embed"))?,
            double_blocks: (0..config.double_blocks)
                .map(|i| DoubleBlock::load(config, &doubles.pp(i)))
                .collect::<Result<_>>()?,
            single_blocks: (0..config.single_blocks)
                .map(|i| SingleBlock::load(config, &singles.pp(i)))
                .collect::<Result<_>>()?,
            norm_out: Linear::load(&w.pp("norm_out").pp("linear"), width, 2 * width)?,
            proj_out: Linear::load(&w.pp("proj_out"), width, config.out_channels)?,
            config: config.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &FluxConfig {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.image_in.dtype()
    }

    /// The velocity of every image token, `[batch, rows · columns, out_channels]`. A step may take most of it over from what
    /// `cache` remembers.
    pub(super) fn forward(
        &self,
        inputs: &FluxInputs<'_>,
        cache: Option<&FirstBlock>,
        probe: Option<Probe<'_>>,
    ) -> Result<Tensor> {
        let condition = silu(&self.condition.forward(inputs)?)?;
        let before = self.image_in.forward(inputs.image)?;
        let text = self.text_in.forward(inputs.text)?;
        let Some(cache) = cache.filter(|_| !self.double_blocks.is_empty()) else {
            let image = self.blocks(0, text, before, &condition, inputs, probe)?;
            return self.finish(&image, &condition);
        };
        let (text, image) = self.double_block(0, &text, &before, &condition, inputs, probe)?;
        let added = (&image - before)?;
        let image = match cache.rest(&added)? {
            Some(rest) => (image + rest)?,
            None => {
                let after = self.blocks(1, text, image.clone(), &condition, inputs, probe)?;
                cache.remember(added, (&after - image)?);
                after
            }
        };
        self.finish(&image, &condition)
    }

    /// All blocks but the first so many double ones: image tokens out.
    fn blocks(
        &self,
        first: usize,
        mut text: Tensor,
        mut image: Tensor,
        condition: &Tensor,
        inputs: &FluxInputs<'_>,
        probe: Option<Probe<'_>>,
    ) -> Result<Tensor> {
        for i in first..self.double_blocks.len() {
            (text, image) = self.double_block(i, &text, &image, condition, inputs, probe)?;
        }
        let tokens = text.dim(1)?;
        let mut joined = Tensor::cat(&[&text, &image], 1)?;
        drop((text, image));
        for (i, block) in self.single_blocks.iter().enumerate() {
            inputs.observer.ask().check()?;
            joined = block.forward(&joined, condition, inputs.rotary)?;
            if let Some(probe) = probe {
                let (text, image) = split(&joined, tokens)?;
                probe(&format!("single_transformer_blocks.{i}.out.0"), &text)?;
                probe(&format!("single_transformer_blocks.{i}.out.1"), &image)?;
            }
        }
        Ok(split(&joined, tokens)?.1)
    }

    /// Text and image tokens in and out.
    fn double_block(
        &self,
        i: usize,
        text: &Tensor,
        image: &Tensor,
        condition: &Tensor,
        inputs: &FluxInputs<'_>,
        probe: Option<Probe<'_>>,
    ) -> Result<(Tensor, Tensor)> {
        inputs.observer.ask().check()?;
        let (text, image) = self.double_blocks[i].forward(text, image, condition, inputs.rotary)?;
        if let Some(probe) = probe {
            probe(&format!("transformer_blocks.{i}.out.0"), &text)?;
            probe(&format!("transformer_blocks.{i}.out.1"), &image)?;
        }
        Ok((text, image))
    }

    fn finish(&self, image: &Tensor, condition: &Tensor) -> Result<Tensor> {
        // scale first here, unlike in the blocks
        let scale_shift = self.norm_out.forward(condition)?.chunk(2, D::Minus1)?;
        self.proj_out.forward(&modulated_norm(image, &scale_shift[1], &scale_shift[0], EPS)?)
    }
}

/// Keeps float16 finite, as the reference does; other types pass.
pub(super) fn within_half(x: Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F16 {
        return Ok(x);
    }
    Ok(x.clamp(-65504f32, 65504f32)?)
}
