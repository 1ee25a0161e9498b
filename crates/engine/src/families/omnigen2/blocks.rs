//! Blocks whose norms stand before and behind each part: those before are scaled by the time, and what comes out is gated by
//! it. The blocks that refine the text know no time.

use candle_core::{D, Tensor};

use super::config::OmniGen2Config;
use crate::error::Result;
use crate::nn::{Linear, RmsNorm, Rotary, SwiGlu, gated, join_heads, split_heads};
use crate::weights::Weights;

/// Added to mean squares of queries and keys.
const EPS: f64 = 1e-5;

/// A block that knows no time.
pub(super) struct Block {
    before_attention: RmsNorm,
    after_attention: RmsNorm,
    before_feed: RmsNorm,
    after_feed: RmsNorm,
    attention: Attention,
    feed: SwiGlu,
}

/// A block that the time scales and gates.
pub(super) struct TimedBlock {
    block: Block,
    /// To scale and gate of attention, then of the feed-forward.
    modulation: Linear,
}

impl Block {
    pub(super) fn load(config: &OmniGen2Config, w: &Weights) -> Result<Self> {
        Self::load_around(config, w, &w.pp("norm1"))
    }

    fn load_around(config: &OmniGen2Config, w: &Weights, first: &Weights) -> Result<Self> {
        let OmniGen2Config { width, wide, eps, .. } = *config;
        let norm = |name: &str| RmsNorm::load(&w.pp(name), width, eps);
        Ok(Self {
            before_attention: RmsNorm::load(first, width, eps)?,
            after_attention: norm("norm2")?,
            before_feed: norm("ffn_norm1")?,
            after_feed: norm("ffn_norm2")?,
            attention: Attention::load(config, &w.pp("attn"))?,
            feed: SwiGlu::load(&w.pp("feed_forward"), ["linear_1", "linear_3", "linear_2"], width, wide)?,
        })
    }

    /// `[batch, tokens, width]` to the same.
    pub(super) fn forward(&self, x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let attended = self.attention.forward(&self.before_attention.forward(x)?, rotary)?;
        let x = (x + self.after_attention.forward(&attended)?)?;
        let fed = self.feed.forward(&self.before_feed.forward(&x)?)?;
        Ok((x + self.after_feed.forward(&fed)?)?)
    }
}

impl TimedBlock {
    pub(super) fn load(config: &OmniGen2Config, w: &Weights) -> Result<Self> {
        let norm = w.pp("norm1");
        Ok(Self {
            block: Block::load_around(config, w, &norm.pp("norm"))?,
            modulation: Linear::load(&norm.pp("linear"), config.time_width(), 4 * config.width)?,
        })
    }

    /// `[batch, tokens, width]` to the same. The time is `[1, time width]`, behind its SiLU.
    pub(super) fn forward(&self, x: &Tensor, time: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let Self { block, modulation } = self;
        let parts = modulation.forward(time)?.chunk(4, D::Minus1)?;
        let attended = block.attention.forward(&scaled(&block.before_attention.forward(x)?, &parts[0])?, rotary)?;
        let x = gated(x, &parts[1].tanh()?, &block.after_attention.forward(&attended)?)?;
        let fed = block.feed.forward(&scaled(&block.before_feed.forward(&x)?, &parts[2])?)?;
        gated(&x, &parts[3].tanh()?, &block.after_feed.forward(&fed)?)
    }
}

/// x · (1 + scale).
fn scaled(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_mul(&(scale.unsqueeze(1)? + 1.0)?)?)
}

/// Attention with norms for each head, and fewer heads of keys and values than of queries.
struct Attention {
    heads: usize,
    kv_heads: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    out: Linear,
}

impl Attention {
    fn load(config: &OmniGen2Config, w: &Weights) -> Result<Self> {
        let (width, head) = (config.width, config.attention().width);
        let narrow = config.kv_heads * head;
        Ok(Self {
            heads: config.heads,
            kv_heads: config.kv_heads,
            q: Linear::load_no_bias(&w.pp("to_q"), width, width)?,
            k: Linear::load_no_bias(&w.pp("to_k"), width, narrow)?,
            v: Linear::load_no_bias(&w.pp("to_v"), width, narrow)?,
            q_norm: RmsNorm::load(&w.pp("norm_q"), head, EPS)?,
            k_norm: RmsNorm::load(&w.pp("norm_k"), head, EPS)?,
            out: Linear::load_no_bias(&w.pp("to_out").pp(0), width, width)?,
        })
    }

    fn forward(&self, x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let turned = |linear: &Linear, norm: &RmsNorm, heads: usize| {
            rotary.apply(&norm.forward(&split_heads(&linear.forward(x)?, heads)?)?)
        };
        let q = turned(&self.q, &self.q_norm, self.heads)?;
        let k = turned(&self.k, &self.k_norm, self.kv_heads)?;
        let v = split_heads(&self.v.forward(x)?, self.kv_heads)?;
        self.out.forward(&join_heads(&self.out.attention(&q, &k, &v, None)?)?)
    }
}
