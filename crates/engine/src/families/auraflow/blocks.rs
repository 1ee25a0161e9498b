//! Joint and single blocks. The result of attention enters only through the input of the feed-forward: what a block adds
//! to is its own input.

use candle_core::{D, Tensor};

use crate::error::Result;
use crate::families::streams::{Heads, split};
use crate::nn::{Activation, Linear, join_heads, join_tokens, modulated_norm, split_heads, standardised};
use crate::weights::Weights;

/// Added to variances in every norm.
const EPS: f64 = 1e-5;

/// How diffusers names the parts of a stream.
struct Names {
    modulation: &'static str,
    qkv: [&'static str; 3],
    out: &'static str,
    feed_forward: &'static str,
}

const IMAGE: Names = Names { modulation: "norm1", qkv: ["to_q", "to_k", "to_v"], out: "to_out.0", feed_forward: "ff" };

const TEXT: Names = Names {
    modulation: "norm1_context",
    qkv: ["add_q_proj", "add_k_proj", "add_v_proj"],
    out: "to_add_out",
    feed_forward: "ff_context",
};

/// Text and image with weights of their own, attending to both.
pub(super) struct JointBlock {
    image: Stream,
    text: Stream,
}

impl JointBlock {
    pub(super) fn load(heads: Heads, w: &Weights) -> Result<Self> {
        Ok(Self { image: Stream::load(heads, w, &IMAGE)?, text: Stream::load(heads, w, &TEXT)? })
    }

    /// Text and image tokens in, text and image tokens out.
    pub(super) fn forward(&self, text: &Tensor, image: &Tensor, condition: &Tensor) -> Result<(Tensor, Tensor)> {
        let (text_mod, image_mod) = (self.text.modulation(condition)?, self.image.modulation(condition)?);
        let [tq, tk, tv] = self.text.project(text, &text_mod)?;
        let [iq, ik, iv] = self.image.project(image, &image_mod)?;
        let attended = self.image.attend(&join_tokens(&tq, &iq)?, &join_tokens(&tk, &ik)?, &join_tokens(&tv, &iv)?)?;
        let (text_part, image_part) = split(&attended, text.dim(1)?)?;
        Ok((self.text.finish(text, &text_part, &text_mod)?, self.image.finish(image, &image_part, &image_mod)?))
    }
}

/// One stream of text and image.
pub(super) struct SingleBlock {
    stream: Stream,
}

impl SingleBlock {
    pub(super) fn load(heads: Heads, w: &Weights) -> Result<Self> {
        Ok(Self { stream: Stream::load(heads, w, &IMAGE)? })
    }

    pub(super) fn forward(&self, x: &Tensor, condition: &Tensor) -> Result<Tensor> {
        let modulation = self.stream.modulation(condition)?;
        let [q, k, v] = self.stream.project(x, &modulation)?;
        self.stream.finish(x, &self.stream.attend(&q, &k, &v)?, &modulation)
    }
}

/// The weights of one stream, none with a bias.
struct Stream {
    heads: usize,
    modulation: Linear,
    qkv: [Linear; 3],
    out: Linear,
    gate: Linear,
    value: Linear,
    narrow: Linear,
}

impl Stream {
    fn load(heads: Heads, w: &Weights, names: &Names) -> Result<Self> {
        let width = heads.total();
        let wide = feed_forward_width(width);
        let linear = |w: Weights, input, output| Linear::load_no_bias(&w, input, output);
        let (attn, feed) = (w.pp("attn"), w.pp(names.feed_forward));
        let [q, k, v] = names.qkv.map(|name| linear(attn.pp(name), width, width));
        Ok(Self {
            heads: heads.count,
            modulation: linear(w.pp(names.modulation).pp("linear"), width, 6 * width)?,
            qkv: [q?, k?, v?],
            out: linear(attn.pp(names.out), width, width)?,
            gate: linear(feed.pp("linear_1"), width, wide)?,
            value: linear(feed.pp("linear_2"), width, wide)?,
            narrow: linear(feed.pp("out_projection"), wide, width)?,
        })
    }

    /// Shift, scale, gate for attention; shift, scale, gate for the feed-forward: each `[batch, width]`.
    fn modulation(&self, condition: &Tensor) -> Result<Vec<Tensor>> {
        Ok(self.modulation.forward(condition)?.chunk(6, D::Minus1)?)
    }

    /// Queries, keys and values, each `[batch, heads, tokens, head width]`, the first two normalised per head.
    fn project(&self, x: &Tensor, modulation: &[Tensor]) -> Result<[Tensor; 3]> {
        let n = modulated_norm(x, &modulation[0], &modulation[1], EPS)?;
        let heads = |linear: &Linear| split_heads(&linear.forward(&n)?, self.heads);
        let [q, k, v] = &self.qkv;
        Ok([standardised(&heads(q)?, EPS)?, standardised(&heads(k)?, EPS)?, heads(v)?])
    }

    /// Attention with heads joined: `[batch, tokens, width]`.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        join_heads(&self.out.attention(q, k, v, None)?)
    }

    fn finish(&self, x: &Tensor, attended: &Tensor, modulation: &[Tensor]) -> Result<Tensor> {
        let inner = self.out.gated(attended, x, &modulation[2])?;
        let n = modulated_norm(&inner, &modulation[3], &modulation[4], EPS)?;
        let wide = self.value.times(&n, &self.gate.activated(&n, Activation::Silu)?)?;
        self.narrow.gated(&wide, x, &modulation[5])
    }
}

/// Two thirds of four times the width, rounded up to a multiple of 256.
fn feed_forward_width(width: usize) -> usize {
    (2 * 4 * width / 3).next_multiple_of(256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_forwards_are_as_wide_as_published() {
        assert_eq!([feed_forward_width(3072), feed_forward_width(64)], [8192, 256]);
    }
}
