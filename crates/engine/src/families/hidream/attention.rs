//! Attention over one sequence or two, with norms over all heads at once, and padding that stands in one token.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::families::streams::Heads;
use crate::nn::{Linear, RmsNorm, Rotary, join_heads, split_heads};
use crate::weights::Weights;

/// Added to mean squares.
const EPS: f64 = 1e-5;

/// The weights that a stream attends with.
pub(super) struct Projections {
    heads: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    out: Linear,
}

/// Queries, keys and values, each `[batch, tokens, width]`, the first two normalised.
pub(super) struct Qkv {
    q: Tensor,
    k: Tensor,
    v: Tensor,
}

/// Where the tokens of a sequence are, and what stands for its padding.
pub(super) struct Places {
    /// Of all tokens: image, padding, text.
    pub(super) rotary: Rotary,
    /// Image tokens, padding not counted.
    pub(super) image: usize,
    /// The tokens that one padding token behind the image stands for; none where there is no such token.
    pub(super) padding: usize,
}

impl Projections {
    /// With `_t` at the end of every name for the text's.
    pub(super) fn load(heads: Heads, w: &Weights, end: &str) -> Result<Self> {
        let width = heads.total();
        let linear = |name: &str| Linear::load(&w.pp(format!("{name}{end}")), width, width);
        let norm = |name: &str| RmsNorm::load(&w.pp(format!("{name}{end}")), width, EPS);
        Ok(Self {
            heads: heads.count,
            q: linear("to_q")?,
            k: linear("to_k")?,
            v: linear("to_v")?,
            q_norm: norm("q_rms_norm")?,
            k_norm: norm("k_rms_norm")?,
            out: linear("to_out")?,
        })
    }

    pub(super) fn project(&self, x: &Tensor) -> Result<Qkv> {
        Ok(Qkv {
            q: self.q_norm.forward(&self.q.forward(x)?)?,
            k: self.k_norm.forward(&self.k.forward(x)?)?,
            v: self.v.forward(x)?,
        })
    }

    /// What attention over everything gives, before [`Projections::out`]: `[batch, tokens, width]`.
    pub(super) fn attend(&self, qkv: &Qkv, places: &Places) -> Result<Tensor> {
        let heads = |x: &Tensor| split_heads(x, self.heads);
        let q = places.rotary.apply(&heads(&qkv.q)?)?;
        let k = places.rotary.apply(&heads(&places.without_padding(&qkv.k)?)?)?;
        let bias = places.bias(k.dim(2)?, &k)?;
        join_heads(&self.out.attention(&q, &k, &heads(&qkv.v)?, bias.as_ref())?)
    }

    pub(super) fn out(&self, x: &Tensor) -> Result<Tensor> {
        self.out.forward(x)
    }
}

impl Qkv {
    /// Image, then text.
    pub(super) fn joined(image: &Self, text: &Self) -> Result<Self> {
        let both = |image: &Tensor, text: &Tensor| Tensor::cat(&[image, text], 1);
        Ok(Self { q: both(&image.q, &text.q)?, k: both(&image.k, &text.k)?, v: both(&image.v, &text.v)? })
    }
}

impl Places {
    /// Tokens of the image with what stands for its padding.
    pub(super) fn rows(&self) -> usize {
        self.image + usize::from(self.padding > 0)
    }

    /// The reference pads with many equal tokens, whose keys are zeros: nobody's query finds them, but their values count
    /// in every sum. As they stay equal, one of them stands for all.
    fn without_padding(&self, k: &Tensor) -> Result<Tensor> {
        if self.padding == 0 {
            return Ok(k.clone());
        }
        let behind = self.image + 1;
        let (image, text) = (k.narrow(1, 0, self.image)?, k.narrow(1, behind, k.dim(1)? - behind)?);
        let nothing = k.narrow(1, self.image, 1)?.zeros_like()?;
        Ok(Tensor::cat(&[image, nothing, text], 1)?)
    }

    /// ln of how many tokens each key stands for, `[1, 1, 1, keys]`; none where that is one everywhere.
    fn bias(&self, keys: usize, near: &Tensor) -> Result<Option<Tensor>> {
        if self.padding <= 1 {
            return Ok(None);
        }
        let mut values = vec![0f32; keys];
        values[self.image] = (self.padding as f32).ln();
        Ok(Some(Tensor::from_vec(values, (1, 1, 1, keys), near.device())?.to_dtype(DType::F32)?))
    }
}
