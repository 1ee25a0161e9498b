//! The autoencoder of latent diffusion (diffusers' `AutoencoderKL`), shared by FLUX, SD3.5, AuraFlow and others.

mod blocks;
mod decoder;
mod encoder;
mod tiling;

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::nn::Conv2d;
use crate::weights::{Config, Reloadable, Weights};
use decoder::Decoder;
use encoder::VaeEncoder;
pub use tiling::Tiling;

/// Added to variances in every group norm.
const EPS: f64 = 1e-6;

/// Sizes of an autoencoder.
#[derive(Clone, Debug)]
pub struct VaeConfig {
    /// Channels of a picture.
    pub image_channels: usize,
    /// Channels per level, finest first.
    pub channels: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub layers: usize,
    /// Groups of every group norm.
    pub groups: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// What latents are divided by before decoding.
    pub scaling: f64,
    /// What is added to them after that.
    pub shift: f64,
    /// Whether a 1×1 convolution follows the encoder.
    pub quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub post_quant_conv: bool,
    /// Whether the middle block attends.
    pub mid_attention: bool,
    /// Side of the pictures it was trained on; the tile size.
    pub sample_size: usize,
}

impl VaeConfig {
    /// From `vae/config.json`.
    ///
    /// # Errors
    /// Values that are no sizes, or blocks of another kind than plain down and up blocks.
    pub fn read(config: &Config) -> Result<Self> {
        for (key, expected) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            let types = config.get(key).and_then(|v| v.as_array()).map_or(&[][..], Vec::as_slice);
            if let Some(other) = types.iter().find(|t| t.as_str() != Some(expected)) {
                return Err(config.unsupported(key, other, expected));
            }
        }
        let this = Self {
            image_channels: config.size_or("out_channels", 3)?,
            channels: config.sizes_or("block_out_channels", &[128, 256, 512, 512])?,
            layers: config.size_or("layers_per_block", 2)?,
            groups: config.size_or("norm_num_groups", 32)?,
            latent_channels: config.size_or("latent_channels", 16)?,
            scaling: config.number_or("scaling_factor", 0.18215)?,
            shift: config.number_or("shift_factor", 0.0)?,
            quant_conv: config.flag_or("use_quant_conv", true)?,
            post_quant_conv: config.flag_or("use_post_quant_conv", true)?,
            mid_attention: config.flag_or("mid_block_add_attention", true)?,
            sample_size: config.size_or("sample_size", 1024)?,
        };
        if this.channels.is_empty() || this.channels.len() > 8 {
            return Err(config.unsupported("block_out_channels", format!("{:?}", this.channels), "1 to 8 levels"));
        }
        if this.image_channels != 3 {
            return Err(config.unsupported("out_channels", this.image_channels, "3"));
        }
        if let Some(c) = this.channels.iter().find(|c| this.groups == 0 || !c.is_multiple_of(this.groups)) {
            return Err(config.unsupported("norm_num_groups", this.groups, &format!("a divisor of {c}")));
        }
        Ok(this)
    }

    /// How many pixels a latent spans in each direction.
    pub fn factor(&self) -> usize {
        1 << (self.channels.len() - 1)
    }
}

/// An autoencoder.
pub struct Vae {
    config: VaeConfig,
    decoder: Decoder,
    post_quant: Option<Conv2d>,
    /// Read when the first picture is encoded: most calls start from text alone.
    encoder: Option<Reloadable<VaeEncoder>>,
}

impl Vae {
    /// Loads the decoder, and checks the names and shapes of the encoder; [`Vae::reopened_by`] says where that is.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        VaeEncoder::load(config, &w.check_only())?;
        let post_quant = || Conv2d::load(&w.pp("post_quant_conv"), config.latent_channels, config.latent_channels, 1);
        Ok(Self {
            decoder: Decoder::load(config, &w.pp("decoder"))?,
            post_quant: config.post_quant_conv.then(post_quant).transpose()?,
            encoder: None,
            config: config.clone(),
        })
    }

    /// The same autoencoder, whose encoder is read from these weights when a picture is first encoded.
    #[must_use]
    pub fn reopened_by(self, reopen: impl Fn() -> Result<Weights> + Send + Sync + 'static) -> Self {
        let config = self.config.clone();
        Self { encoder: Some(Reloadable::later(move || VaeEncoder::load(&config, &reopen()?))), ..self }
    }

    /// Sizes and factors.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Model latents `[batch, channels, h, w]` to what the decoder expects: divided by the scaling, shifted; computed
    /// in float32, because candle rounds the two numbers to the type of the latents.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        let wide = latents.to_dtype(DType::F32)?.affine(1.0 / self.config.scaling, self.config.shift)?;
        Ok(wide.to_dtype(latents.dtype())?)
    }

    /// The inverse of [`Vae::unscale`]: what [`Vae::encode`] sees, in the model's scale.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn scale(&self, z: &Tensor) -> Result<Tensor> {
        let VaeConfig { scaling, shift, .. } = self.config;
        let wide = ((z.to_dtype(DType::F32)? - shift)? * scaling)?;
        Ok(wide.to_dtype(z.dtype())?)
    }

    /// Decodes unscaled latents to pictures `[batch, 3, h · factor, w · factor]`, about −1 to 1; large ones tile by
    /// tile, several one after the other, so that they need no more memory than one.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn decode(&self, z: &Tensor, tiling: &Tiling) -> Result<Tensor> {
        let (batch, _, height, width) = z.dims4()?;
        if batch > 1 {
            let one = |index: usize| self.decode(&z.narrow(0, index, 1)?.contiguous()?, tiling);
            return Ok(Tensor::cat(&(0..batch).map(one).collect::<Result<Vec<_>>>()?, 0)?);
        }
        if tiling.applies(height, width) {
            return tiling.decode(z, &|tile| self.decode_whole(tile));
        }
        self.decode_whole(z)
    }

    /// Encodes a picture `[batch, 3, h, w]`, −1 to 1, to mean and log-variance `[batch, channels, …]` each, the latter
    /// clamped to −30 … 20.
    ///
    /// # Errors
    /// Files that cannot be read any more, an autoencoder loaded for decoding only, or a device out of memory.
    pub fn encode(&self, image: &Tensor) -> Result<(Tensor, Tensor)> {
        let only = || candle_core::Error::Msg("this autoencoder was loaded for decoding only".into());
        self.encoder.as_ref().ok_or_else(only)?.get_unobserved()?.encode(image)
    }

    fn decode_whole(&self, z: &Tensor) -> Result<Tensor> {
        let z = channels_last(z)?;
        let picture = match &self.post_quant {
            Some(conv) => self.decoder.forward(&conv.forward(&z)?)?,
            None => self.decoder.forward(&z)?,
        };
        channels_first(&picture)
    }
}

/// `[batch, channels, h, w]` to `[batch, h, w, channels]`: inside, the channels of a pixel lie together.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?)
}

/// The inverse of [`channels_last`].
fn channels_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 3, 1, 2))?.contiguous()?)
}
