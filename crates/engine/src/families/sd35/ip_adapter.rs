//! The IP-Adapter of Stable Diffusion 3.5 Large, as diffusers' `SD3IPAdapterJointAttnProcessor2_0` computes it: in every
//! block a second attention of the image tokens, to themselves and to the tokens of a picture.

use candle_core::{D, Tensor};

use super::blocks::attended;
use super::resampler::{Resampler, ResamplerConfig};
use super::transformer::Sd35Config;
use crate::adapters::{AdapterFiles, Blame};
use crate::error::Result;
use crate::families::streams::{EPS, Heads, Qkv};
use crate::nn::{Linear, RmsNorm, join_tokens, modulated_norm, silu, split_heads};
use crate::observer::Observer;
use crate::weights::{Loose, Named, Precision, Weights};

/// Sizes of an IP-Adapter.
#[derive(Clone, Debug)]
pub struct IpAdapterConfig {
    /// Of its resampler.
    pub resampler: ResamplerConfig,
    /// Blocks of the model.
    pub blocks: usize,
    /// Attention heads of the model.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
}

/// An IP-Adapter.
pub struct Sd35IpAdapter {
    resampler: Resampler,
    blocks: Vec<Processor>,
}

/// Its part of one block.
struct Processor {
    heads: usize,
    modulation: Linear,
    k: Linear,
    v: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    norm_picture_k: RmsNorm,
}

impl Sd35IpAdapter {
    /// Loads the adapter under diffusers' names.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &IpAdapterConfig, w: &Weights) -> Result<Self> {
        let heads = Heads { count: config.heads, width: config.head_width };
        let blocks = w.pp("ip_adapter");
        let condition = config.resampler.hidden;
        Ok(Self {
            resampler: Resampler::load(&config.resampler, heads.total(), &w.pp("image_proj"))?,
            blocks: (0..config.blocks)
                .map(|i| Processor::load(heads, condition, &blocks.pp(i)))
                .collect::<Result<_>>()?,
        })
    }

    /// Loads the adapter from files of either layout.
    pub(super) fn open(
        files: &AdapterFiles,
        base: &Sd35Config,
        precision: &Precision,
        blame: &Blame<'_>,
    ) -> Result<Self> {
        let tensors = Loose::open(&files.weights)?.named(Self::name)?;
        let width = tensors.size("image_proj.proj_out.weight", 0)?;
        if width != base.width() {
            return Err(blame.problem(format!(
                "it is made for another model: its tokens are {width} wide, those of this one {}",
                base.width()
            )));
        }
        let blocks = tensors.count(|i| format!("ip_adapter.{i}.to_k_ip.weight"));
        if blocks != base.blocks {
            return Err(blame.problem(format!(
                "it is made for another model: of {blocks} blocks, and this one has {}",
                base.blocks
            )));
        }
        let resampler = ResamplerConfig::read(&tensors)?;
        let config = IpAdapterConfig { resampler, blocks, heads: base.heads, head_width: base.head_width };
        let weights = tensors.weights(precision);
        let adapter = Self::load(&config, &weights)?;
        weights.finish(|_| false)?;
        Ok(adapter)
    }

    /// The name that diffusers gives to a tensor of the publisher's file.
    pub fn name(name: &str) -> Named {
        let rest = name.strip_prefix("image_proj.layers.").and_then(|rest| rest.split_once('.'));
        let Some((layer, rest)) = rest else { return Named::As(name.to_owned()) };
        let Some((module, kind)) = rest.rsplit_once('.') else { return Named::As(name.to_owned()) };
        let inner = match module {
            "0.norm1" => "ln0",
            "0.norm2" => "ln1",
            "0.to_q" => "attn.to_q",
            "0.to_kv" => "attn.to_kv",
            "0.to_out" => "attn.to_out.0",
            "1.0" => "adaln_norm",
            "1.1" => "ff.net.0.proj",
            "1.3" => "ff.net.2",
            "2.1" => "adaln_proj",
            other => other,
        };
        Named::As(format!("image_proj.layers.{layer}.{inner}.{kind}"))
    }

    /// Width of the states of the image encoder that it was trained with.
    pub(super) fn encoder_width(&self) -> usize {
        self.resampler.encoder_width()
    }

    /// What the picture is at a timestep: its tokens `[batch, queries, width]` and the embedded timestep `[batch, hidden]`.
    /// `states` are the image encoder's, `[batch, tokens, width]`; `timestep` is `[batch]`.
    pub(super) fn picture(
        &self,
        states: &Tensor,
        timestep: &Tensor,
        observer: &dyn Observer,
    ) -> Result<(Tensor, Tensor)> {
        self.resampler.forward(states, timestep, observer)
    }
}

impl Processor {
    fn load(heads: Heads, condition: usize, w: &Weights) -> Result<Self> {
        let width = heads.total();
        let norm = |name: &str| RmsNorm::load(&w.pp(name), heads.width, EPS);
        Ok(Self {
            heads: heads.count,
            modulation: Linear::load(&w.pp("norm_ip").pp("linear"), condition, 2 * width)?,
            k: Linear::load_no_bias(&w.pp("to_k_ip"), width, width)?,
            v: Linear::load_no_bias(&w.pp("to_v_ip"), width, width)?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            norm_picture_k: norm("norm_ip_k")?,
        })
    }
}

/// An adapter at one step.
pub(super) struct PictureAttention<'a> {
    adapter: &'a Sd35IpAdapter,
    /// `[batch, queries, width]`.
    tokens: Tensor,
    /// The embedded timestep behind SiLU, `[batch, hidden]`.
    condition: Tensor,
    scale: f64,
    /// 1 where it acts, 0 elsewhere: `[1, cells, 1]`.
    mask: Option<&'a Tensor>,
}

impl<'a> PictureAttention<'a> {
    /// With what [`Sd35IpAdapter::picture`] gave, for each of the batch.
    pub(super) fn new(
        adapter: &'a Sd35IpAdapter,
        (tokens, timestep): (Tensor, &Tensor),
        scale: f64,
        mask: Option<&'a Tensor>,
    ) -> Result<Self> {
        Ok(Self { adapter, tokens, condition: silu(timestep)?, scale, mask })
    }

    /// What is added to the attention of the image tokens in a block, `[batch, cells, width]`. Queries, keys and values are
    /// the block's own, before its norms.
    pub(super) fn attend(&self, block: usize, (q, k, v): &Qkv) -> Result<Tensor> {
        let processor = &self.adapter.blocks[block];
        // shift first
        let parts = processor.modulation.forward(&self.condition)?.chunk(2, D::Minus1)?;
        let tokens = modulated_norm(&self.tokens, &parts[0], &parts[1], EPS)?;
        let heads = |linear: &Linear| split_heads(&linear.forward(&tokens)?, processor.heads);
        let picture_k = processor.norm_picture_k.forward(&heads(&processor.k)?)?;
        let keys = join_tokens(&processor.norm_k.forward(k)?, &picture_k)?;
        let values = join_tokens(v, &heads(&processor.v)?)?;
        let result = (attended(&(processor.norm_q.forward(q)?, keys, values))? * self.scale)?;
        Ok(match self.mask {
            Some(mask) => result.broadcast_mul(mask)?,
            None => result,
        })
    }
}
