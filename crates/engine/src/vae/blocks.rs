//! The parts that encoder and decoder share, over `[batch, height, width, channels]`.

use candle_core::Tensor;

use super::{EPS, VaeConfig};
use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm, Linear, attention, join_heads};
use crate::weights::Weights;

/// Two normalised convolutions around a shortcut.
pub(super) struct ResNet {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResNet {
    pub(super) fn load(config: &VaeConfig, w: &Weights, input: usize, output: usize) -> Result<Self> {
        let shortcut = || Conv2d::load(&w.pp("conv_shortcut"), input, output, 1);
        Ok(Self {
            norm1: GroupNorm::load(&w.pp("norm1"), config.groups, input, EPS)?,
            conv1: Conv2d::load(&w.pp("conv1"), input, output, 3)?,
            norm2: GroupNorm::load(&w.pp("norm2"), config.groups, output, EPS)?,
            conv2: Conv2d::load(&w.pp("conv2"), output, output, 3)?,
            shortcut: (input != output).then(shortcut).transpose()?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        let h = self.norm2.forward_silu(&h)?;
        match &self.shortcut {
            Some(conv) => self.conv2.added(&h, &conv.forward(x)?),
            None => self.conv2.added(&h, x),
        }
    }
}

/// Single-head attention over all places of the coarsest level.
struct Attention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Attention {
    fn load(config: &VaeConfig, w: &Weights, channels: usize) -> Result<Self> {
        let linear = |name: &str| Linear::load(&w.pp(name), channels, channels);
        Ok(Self {
            norm: GroupNorm::load(&w.pp("group_norm"), config.groups, channels, EPS)?,
            q: linear("to_q")?,
            k: linear("to_k")?,
            v: linear("to_v")?,
            out: linear("to_out.0")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = x.dims4()?;
        // [batch, 1 head, places, channels]
        let places = self.norm.forward(x)?.reshape((batch, height * width, channels))?;
        let head = |linear: &Linear| -> Result<Tensor> { Ok(linear.forward(&places)?.unsqueeze(1)?) };
        let scale = 1.0 / (channels as f64).sqrt();
        let y = attention(&head(&self.q)?, &head(&self.k)?, &head(&self.v)?, scale, None)?;
        self.out.added(&join_heads(&y)?.reshape(x.dims())?, x)
    }
}

/// The coarsest level: a residual block, attention, a residual block.
pub(super) struct Middle {
    first: ResNet,
    attention: Option<Attention>,
    second: ResNet,
}

impl Middle {
    pub(super) fn load(config: &VaeConfig, w: &Weights, channels: usize) -> Result<Self> {
        let resnets = w.pp("resnets");
        let attention = || Attention::load(config, &w.pp("attentions").pp(0), channels);
        Ok(Self {
            first: ResNet::load(config, &resnets.pp(0), channels, channels)?,
            attention: config.mid_attention.then(attention).transpose()?,
            second: ResNet::load(config, &resnets.pp(1), channels, channels)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.first.forward(x)?;
        let x = match &self.attention {
            Some(attention) => attention.forward(&x)?,
            None => x,
        };
        self.second.forward(&x)
    }
}
