//! Blocks of three parts: tokens see each other, then the text, then pass through the feed-forward. Each is shifted, scaled
//! and gated by the noise level.

use candle_core::{D, Tensor};

use super::FLiteConfig;
use super::positions::Turns;
use crate::error::Result;
use crate::nn::{Activation, Linear, RmsNorm, gated, join_heads, split_heads, unit_rms};
use crate::weights::Weights;

/// Added to mean squares in every norm.
const EPS: f64 = 1e-6;

/// RMS norm of a token, with a weight where the model trains one.
pub(super) struct Norm(Option<RmsNorm>);

impl Norm {
    pub(super) fn load(config: &FLiteConfig, w: &Weights) -> Result<Self> {
        let trained = || RmsNorm::load(w, config.width, EPS);
        Ok(Self(config.trains_norms.then(trained).transpose()?))
    }

    /// norm(x) · (1 + scale) + shift for `x` of `[batch, tokens, width]`, the others `[batch, width]`.
    pub(super) fn modulated(&self, x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
        let normed = self.0.as_ref().map_or_else(|| unit_rms(x, EPS), |norm| norm.forward(x))?;
        let gain = (scale.unsqueeze(1)? + 1.0)?;
        Ok(normed.broadcast_mul(&gain)?.broadcast_add(&shift.unsqueeze(1)?)?)
    }
}

/// One block.
pub(super) struct Block {
    heads: usize,
    modulation: Linear,
    norms: [Norm; 3],
    qkv: Linear,
    proj: Linear,
    /// How much of its own values a block keeps; the rest are the first block's. `[1]`, where the model mixes them.
    mix: Option<Tensor>,
    text_q: Linear,
    text_kv: Linear,
    text_proj: Linear,
    wide: Linear,
    narrow: Linear,
}

/// What every block sees beside the tokens.
pub(super) struct Surroundings<'a> {
    /// `[batch, tokens, text width]`.
    pub(super) text: &'a Tensor,
    /// What the noise level became, `[batch, width]`.
    pub(super) condition: &'a Tensor,
    pub(super) turns: &'a Turns,
}

impl Block {
    pub(super) fn load(config: &FLiteConfig, w: &Weights) -> Result<Self> {
        let FLiteConfig { width, wide, text_width, .. } = *config;
        let (own, cross, feed) = (w.pp("self_attn"), w.pp("cross_attn"), w.pp("mlp"));
        let linear = if config.trains_norms { Linear::load } else { Linear::load_no_bias };
        let norm = |name: &str| Norm::load(config, &w.pp(name));
        Ok(Self {
            heads: config.heads,
            modulation: Linear::load(&w.pp("adaLN_modulation").pp(1), width, 9 * width)?,
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?],
            qkv: linear(&own.pp("qkv"), width, 3 * width)?,
            proj: Linear::load_no_bias(&own.pp("proj"), width, width)?,
            mix: config.mixes_values.then(|| own.get(1, "lambda_param")).transpose()?,
            text_q: linear(&cross.pp("q"), width, width)?,
            text_kv: linear(&cross.pp("context_kv"), text_width, 2 * width)?,
            text_proj: Linear::load_no_bias(&cross.pp("proj"), width, width)?,
            wide: Linear::load(&feed.pp(0), width, wide)?,
            narrow: Linear::load(&feed.pp(2), wide, width)?,
        })
    }

    /// Tokens in, tokens out. The first block leaves its values in `first`, the others take from them.
    pub(super) fn forward(&self, x: &Tensor, around: &Surroundings<'_>, first: &mut Option<Tensor>) -> Result<Tensor> {
        // shift, scale and gate for each part
        let m = self.modulation.forward(around.condition)?.chunk(9, D::Minus1)?;
        let [norm1, norm2, norm3] = &self.norms;
        let x = gated(x, &m[2], &self.own(&norm1.modulated(x, &m[0], &m[1])?, around.turns, first)?)?;
        let x = gated(&x, &m[5], &self.cross(&norm2.modulated(&x, &m[3], &m[4])?, around.text)?)?;
        let inner = self.wide.activated(&norm3.modulated(&x, &m[6], &m[7])?, Activation::Gelu)?;
        self.narrow.gated(&inner, &x, &m[8])
    }

    /// Tokens see each other. Queries and keys are turned first and normalised afterwards.
    fn own(&self, x: &Tensor, turns: &Turns, first: &mut Option<Tensor>) -> Result<Tensor> {
        let parts = self.qkv.forward(x)?.chunk(3, D::Minus1)?;
        let heads = |part: &Tensor| split_heads(part, self.heads);
        let turned = |part: &Tensor| unit_rms(&turns.apply(&heads(part)?)?, EPS);
        let v = self.mixed(heads(&parts[2])?, first)?;
        self.proj.forward(&join_heads(&self.proj.attention(&turned(&parts[0])?, &turned(&parts[1])?, &v, None)?)?)
    }

    fn mixed(&self, v: Tensor, first: &mut Option<Tensor>) -> Result<Tensor> {
        match (&self.mix, &*first) {
            (_, None) => {
                *first = Some(v.clone());
                Ok(v)
            }
            (Some(mix), Some(first)) => {
                let rest = first.broadcast_mul(&(1.0 - mix)?)?;
                Ok((v.broadcast_mul(mix)? + rest)?)
            }
            (None, Some(_)) => Ok(v),
        }
    }

    /// Tokens see all of the text, its padding too.
    fn cross(&self, x: &Tensor, text: &Tensor) -> Result<Tensor> {
        let parts = self.text_kv.forward(text)?.chunk(2, D::Minus1)?;
        let heads = |part: &Tensor| split_heads(part, self.heads);
        let q = unit_rms(&heads(&self.text_q.forward(x)?)?, EPS)?;
        let k = unit_rms(&heads(&parts[0])?, EPS)?;
        self.text_proj.forward(&join_heads(&self.text_proj.attention(&q, &k, &heads(&parts[1])?, None)?)?)
    }
}
