//! The pre-norm block of CLIP's and SigLIP's transformers.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{Activation, LayerNorm, Linear, attention, join_heads, split_heads};
use crate::weights::Weights;

/// What stands between the two matrices of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderActivation {
    /// CLIP-L's.
    QuickGelu,
    /// CLIP-G's.
    Gelu,
    /// SigLIP's.
    GeluTanh,
}

/// Sizes of a block.
pub(super) struct BlockSizes {
    pub(super) hidden: usize,
    /// Width of the feed-forward.
    pub(super) wide: usize,
    pub(super) heads: usize,
    pub(super) eps: f64,
    pub(super) activation: EncoderActivation,
}

pub(super) struct Block {
    heads: usize,
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    activation: EncoderActivation,
    fc2: Linear,
}

impl Block {
    pub(super) fn load(sizes: &BlockSizes, w: &Weights) -> Result<Self> {
        let BlockSizes { hidden, wide, heads, eps, activation } = *sizes;
        let attention = w.pp("self_attn");
        Ok(Self {
            heads,
            norm1: LayerNorm::load(&w.pp("layer_norm1"), hidden, eps)?,
            q: Linear::load(&attention.pp("q_proj"), hidden, hidden)?,
            k: Linear::load(&attention.pp("k_proj"), hidden, hidden)?,
            v: Linear::load(&attention.pp("v_proj"), hidden, hidden)?,
            out: Linear::load(&attention.pp("out_proj"), hidden, hidden)?,
            norm2: LayerNorm::load(&w.pp("layer_norm2"), hidden, eps)?,
            fc1: Linear::load(&w.pp("mlp").pp("fc1"), hidden, wide)?,
            activation,
            fc2: Linear::load(&w.pp("mlp").pp("fc2"), wide, hidden)?,
        })
    }

    /// `[batch, tokens, hidden]`; the mask is added to the scores.
    pub(super) fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let n = self.norm1.forward(x)?;
        let heads = |linear: &Linear| split_heads(&linear.forward(&n)?, self.heads);
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?);
        let scale = 1.0 / (q.dim(3)? as f64).sqrt();
        let x = self.out.added(&join_heads(&attention(&q, &k, &v, scale, mask)?)?, x)?;
        let n = self.norm2.forward(&x)?;
        let activation = match self.activation {
            EncoderActivation::QuickGelu => Activation::QuickGelu,
            EncoderActivation::Gelu => Activation::Gelu,
            EncoderActivation::GeluTanh => Activation::GeluTanh,
        };
        self.fc2.added(&self.fc1.activated(&n, activation)?, &x)
    }
}
