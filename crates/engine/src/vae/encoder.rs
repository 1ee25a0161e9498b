//! Pixels to the moments of latents.

use candle_core::Tensor;

use super::blocks::{Middle, ResNet};
use super::{EPS, VaeConfig, channels_first, channels_last};
use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm};
use crate::weights::Weights;

/// The half of an autoencoder that encodes.
pub(super) struct VaeEncoder {
    encoder: Encoder,
    quant: Option<Conv2d>,
    latent_channels: usize,
}

impl VaeEncoder {
    /// Loads this half and nothing of the other.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub(super) fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let twice = 2 * config.latent_channels;
        let quant = || Conv2d::load(&w.pp("quant_conv"), twice, twice, 1);
        Ok(Self {
            encoder: Encoder::load(config, &w.pp("encoder"))?,
            quant: config.quant_conv.then(quant).transpose()?,
            latent_channels: config.latent_channels,
        })
    }

    /// Encodes a picture `[batch, 3, h, w]`, −1 to 1, to mean and log-variance `[batch, channels, …]` each, the latter
    /// clamped to −30 … 20.
    ///
    /// # Errors
    /// A device out of memory.
    pub(super) fn encode(&self, image: &Tensor) -> Result<(Tensor, Tensor)> {
        let moments = self.encoder.forward(&channels_last(image)?)?;
        let moments = match &self.quant {
            Some(conv) => conv.forward(&moments)?,
            None => moments,
        };
        let moments = channels_first(&moments)?;
        let channels = self.latent_channels;
        Ok((moments.narrow(1, 0, channels)?, moments.narrow(1, channels, channels)?.clamp(-30.0, 20.0)?))
    }
}

struct Encoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// One resolution: residual blocks, then a halving everywhere but at the coarsest.
struct Level {
    resnets: Vec<ResNet>,
    downsample: Option<Conv2d>,
}

impl Encoder {
    fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let channels = &config.channels;
        let (finest, coarsest) = (channels[0], channels[channels.len() - 1]);
        let levels = channels.iter().enumerate().map(|(i, output)| {
            let input = if i == 0 { finest } else { channels[i - 1] };
            let last = i + 1 == channels.len();
            Level::load(config, &w.pp("down_blocks").pp(i), input, *output, last)
        });
        Ok(Self {
            conv_in: Conv2d::load(&w.pp("conv_in"), config.image_channels, finest, 3)?,
            levels: levels.collect::<Result<_>>()?,
            middle: Middle::load(config, &w.pp("mid_block"), coarsest)?,
            norm_out: GroupNorm::load(&w.pp("conv_norm_out"), config.groups, coarsest, EPS)?,
            conv_out: Conv2d::load(&w.pp("conv_out"), coarsest, 2 * config.latent_channels, 3)?,
        })
    }

    fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(image)?;
        for level in &self.levels {
            x = level.forward(x)?;
        }
        let x = self.middle.forward(&x)?;
        self.conv_out.forward(&self.norm_out.forward_silu(&x)?)
    }
}

impl Level {
    fn load(config: &VaeConfig, w: &Weights, input: usize, output: usize, last: bool) -> Result<Self> {
        let resnet = |i: usize| {
            let input = if i == 0 { input } else { output };
            ResNet::load(config, &w.pp("resnets").pp(i), input, output)
        };
        let downsample = || Conv2d::load_downsample(&w.pp("downsamplers").pp(0).pp("conv"), output);
        Ok(Self {
            resnets: (0..config.layers).map(resnet).collect::<Result<_>>()?,
            downsample: (!last).then(downsample).transpose()?,
        })
    }

    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x)?;
        }
        match &self.downsample {
            Some(conv) => conv.forward(&x),
            None => Ok(x),
        }
    }
}
