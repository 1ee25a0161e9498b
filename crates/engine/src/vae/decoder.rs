//! Latents to pixels.

use candle_core::Tensor;

use super::blocks::{Middle, ResNet};
use super::{EPS, VaeConfig};
use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm};
use crate::weights::Weights;

pub(super) struct Decoder {
    conv_in: Conv2d,
    middle: Middle,
    levels: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// One resolution: residual blocks, then a doubling everywhere but at the finest.
struct Level {
    resnets: Vec<ResNet>,
    upsample: Option<Conv2d>,
}

impl Decoder {
    pub(super) fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let channels: Vec<usize> = config.channels.iter().rev().copied().collect();
        let (coarsest, finest) = (channels[0], channels[channels.len() - 1]);
        let levels = channels.iter().enumerate().map(|(i, output)| {
            let input = if i == 0 { coarsest } else { channels[i - 1] };
            let last = i + 1 == channels.len();
            Level::load(config, &w.pp("up_blocks").pp(i), input, *output, last)
        });
        Ok(Self {
            conv_in: Conv2d::load(&w.pp("conv_in"), config.latent_channels, coarsest, 3)?,
            middle: Middle::load(config, &w.pp("mid_block"), coarsest)?,
            levels: levels.collect::<Result<_>>()?,
            norm_out: GroupNorm::load(&w.pp("conv_norm_out"), config.groups, finest, EPS)?,
            conv_out: Conv2d::load(&w.pp("conv_out"), finest, config.image_channels, 3)?,
        })
    }

    /// `[batch, h, w, latent channels]` to `[batch, H, W, 3]`.
    pub(super) fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let mut x = self.middle.forward(&self.conv_in.forward(z)?)?;
        for level in &self.levels {
            x = level.forward(x)?;
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&x)?)
    }
}

impl Level {
    fn load(config: &VaeConfig, w: &Weights, input: usize, output: usize, last: bool) -> Result<Self> {
        let resnet = |i: usize| {
            let input = if i == 0 { input } else { output };
            ResNet::load(config, &w.pp("resnets").pp(i), input, output)
        };
        let upsample = || Conv2d::load_upsample(&w.pp("upsamplers").pp(0).pp("conv"), output);
        Ok(Self {
            resnets: (0..=config.layers).map(resnet).collect::<Result<_>>()?,
            upsample: (!last).then(upsample).transpose()?,
        })
    }

    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x)?;
        }
        match &self.upsample {
            Some(conv) => conv.forward(&x),
            None => Ok(x),
        }
    }
}
