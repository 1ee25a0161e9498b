//! A stream of tokens with weights of its own that attends together with another: what the blocks of FLUX and SD3.5 are
//! made of.

use candle_core::{D, Tensor};

use crate::error::{Error, Result};
use crate::nn::{Activation, Linear, RmsNorm, join_heads, modulated_norm, split_heads};
use crate::weights::Weights;

/// Added to variances in every norm.
pub(super) const EPS: f64 = 1e-6;

/// Heads and their width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) count: usize,
    pub(super) width: usize,
}

/// How diffusers names the parts of a stream.
pub(super) struct Names {
    pub(super) modulation: &'static str,
    q: &'static str,
    k: &'static str,
    v: &'static str,
    /// Of queries and keys, where the stream has them.
    norms: Option<(&'static str, &'static str)>,
    out: &'static str,
    feed_forward: &'static str,
}

pub(super) const IMAGE: Names = Names {
    modulation: "norm1",
    q: "to_q",
    k: "to_k",
    v: "to_v",
    norms: Some(("norm_q", "norm_k")),
    out: "to_out.0",
    feed_forward: "ff",
};

/// An image stream whose queries and keys are taken as they are.
pub(super) const BARE: Names = Names { norms: None, ..IMAGE };

pub(super) const TEXT: Names = Names {
    modulation: "norm1_context",
    q: "add_q_proj",
    k: "add_k_proj",
    v: "add_v_proj",
    norms: Some(("norm_added_q", "norm_added_k")),
    out: "to_add_out",
    feed_forward: "ff_context",
};

/// The weights of one stream of a double block.
pub(super) struct Stream {
    modulation: Linear,
    pub(super) attention: Projections,
    out: Linear,
    wide: Linear,
    narrow: Linear,
}

impl Stream {
    pub(super) fn load(heads: Heads, w: &Weights, names: &Names) -> Result<Self> {
        let width = heads.total();
        let net = w.pp(names.feed_forward).pp("net");
        Ok(Self {
            modulation: Linear::load(&w.pp(names.modulation).pp("linear"), width, 6 * width)?,
            attention: Projections::load(heads, &w.pp("attn"), names)?,
            out: Linear::load(&w.pp("attn").pp(names.out), width, width)?,
            wide: Linear::load(&net.pp(0).pp("proj"), width, 4 * width)?,
            narrow: Linear::load(&net.pp(2), 4 * width, width)?,
        })
    }

    pub(super) fn modulation(&self, condition: &Tensor) -> Result<Modulation> {
        let parts = self.modulation.forward(condition)?.chunk(6, D::Minus1)?;
        Ok(Modulation { parts })
    }

    /// The two gated residuals: attention, then feed-forward.
    pub(super) fn finish(&self, x: &Tensor, attended: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let x = self.out.gated(attended, x, &modulation.parts[2])?;
        let n = modulated_norm(&x, &modulation.parts[3], &modulation.parts[4], EPS)?;
        self.narrow.gated(&self.wide.activated(&n, Activation::GeluTanh)?, &x, &modulation.parts[5])
    }
}

/// Shift, scale, gate for attention; shift, scale, gate for the feed-forward: each `[batch, width]`.
pub(super) struct Modulation {
    parts: Vec<Tensor>,
}

impl Modulation {
    pub(super) fn before_attention(&self, x: &Tensor) -> Result<Tensor> {
        modulated_norm(x, &self.parts[0], &self.parts[1], EPS)
    }
}

/// Queries, keys and values of one stream, the first two normalised per head where the stream has norms for them.
pub(super) struct Projections {
    heads: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    norms: Option<(RmsNorm, RmsNorm)>,
}

/// Queries, keys and values, each `[batch, heads, tokens, head width]`.
pub(super) type Qkv = (Tensor, Tensor, Tensor);

impl Projections {
    pub(super) fn load(heads: Heads, w: &Weights, names: &Names) -> Result<Self> {
        let width = heads.total();
        let linear = |name: &str| Linear::load(&w.pp(name), width, width);
        let norm = |name: &str| RmsNorm::load(&w.pp(name), heads.width, EPS);
        Ok(Self {
            heads: heads.count,
            q: linear(names.q)?,
            k: linear(names.k)?,
            v: linear(names.v)?,
            norms: names.norms.map(|(q, k)| Ok::<_, Error>((norm(q)?, norm(k)?))).transpose()?,
        })
    }

    pub(super) fn project(&self, x: &Tensor) -> Result<Qkv> {
        self.normed(&self.before_norms(x)?)
    }

    /// Attention with heads joined, as exact as these matrices: `[batch, tokens, width]`.
    pub(super) fn attend(&self, (q, k, v): &Qkv) -> Result<Tensor> {
        join_heads(&self.q.attention(q, k, v, None)?)
    }

    /// As the matrices make them.
    pub(super) fn before_norms(&self, x: &Tensor) -> Result<Qkv> {
        let heads = |linear: &Linear| split_heads(&linear.forward(x)?, self.heads);
        Ok((heads(&self.q)?, heads(&self.k)?, heads(&self.v)?))
    }

    /// What [`Self::before_norms`] gave, normalised.
    pub(super) fn normed(&self, (q, k, v): &Qkv) -> Result<Qkv> {
        match &self.norms {
            Some((norm_q, norm_k)) => Ok((norm_q.forward(q)?, norm_k.forward(k)?, v.clone())),
            None => Ok((q.clone(), k.clone(), v.clone())),
        }
    }
}

impl Heads {
    /// Width of a token.
    pub(super) fn total(self) -> usize {
        self.count * self.width
    }
}

/// `[batch, first + rest, width]` to its two parts.
pub(super) fn split(joined: &Tensor, first: usize) -> Result<(Tensor, Tensor)> {
    let rest = joined.dim(1)? - first;
    Ok((joined.narrow(1, 0, first)?, joined.narrow(1, first, rest)?))
}
