//! Double and single blocks.

use candle_core::{D, Tensor};

use super::{EPS, FluxConfig, split, within_half};
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::nn::{Linear, RmsNorm, Rotary, attention, gelu_tanh, join_heads, modulated_norm, split_heads};

/// Text and image with weights of their own, attending to both.
pub(super) struct DoubleBlock {
    image: Stream,
    text: Stream,
}

impl DoubleBlock {
    pub(super) fn load(config: &FluxConfig, w: &Weights) -> Result<Self> {
        Ok(Self { image: Stream::load(config, w, &IMAGE)?, text: Stream::load(config, w, &TEXT)? })
    }

    /// Text and image tokens in, text and image tokens out.
    pub(super) fn forward(
        &self,
        text: &Tensor,
        image: &Tensor,
        condition: &Tensor,
        rotary: &Rotary,
    ) -> Result<(Tensor, Tensor)> {
        let (text_mod, image_mod) = (self.text.modulation(condition)?, self.image.modulation(condition)?);
        let (tq, tk, tv) = self.text.attention.project(&text_mod.before_attention(text)?)?;
        let (iq, ik, iv) = self.image.attention.project(&image_mod.before_attention(image)?)?;
        // [batch, heads, text + image, head width]
        let both = |t: &Tensor, i: &Tensor| Tensor::cat(&[t, i], 2);
        let attended = attend(&both(&tq, &iq)?, &both(&tk, &ik)?, &both(&tv, &iv)?, rotary)?;
        let (text_part, image_part) = split(&attended, text.dim(1)?)?;
        let image = self.image.finish(image, &image_part, &image_mod)?;
        let text = self.text.finish(text, &text_part, &text_mod)?;
        Ok((within_half(text)?, image))
    }
}

/// How diffusers names the parts of a stream.
struct Names {
    modulation: &'static str,
    q: &'static str,
    k: &'static str,
    v: &'static str,
    norm_q: &'static str,
    norm_k: &'static str,
    out: &'static str,
    feed_forward: &'static str,
}

const IMAGE: Names = Names {
    modulation: "norm1",
    q: "to_q",
    k: "to_k",
    v: "to_v",
    norm_q: "norm_q",
    norm_k: "norm_k",
    out: "to_out.0",
    feed_forward: "ff",
};

const TEXT: Names = Names {
    modulation: "norm1_context",
    q: "add_q_proj",
    k: "add_k_proj",
    v: "add_v_proj",
    norm_q: "norm_added_q",
    norm_k: "norm_added_k",
    out: "to_add_out",
    feed_forward: "ff_context",
};

/// The weights of one stream of a double block.
struct Stream {
    modulation: Linear,
    attention: Projections,
    out: Linear,
    wide: Linear,
    narrow: Linear,
}

impl Stream {
    fn load(config: &FluxConfig, w: &Weights, names: &Names) -> Result<Self> {
        let width = config.width();
        let net = w.pp(names.feed_forward).pp("net");
        Ok(Self {
            modulation: Linear::load(&w.pp(names.modulation).pp("linear"), width, 6 * width)?,
            attention: Projections::load(config, &w.pp("attn"), names)?,
            out: Linear::load(&w.pp("attn").pp(names.out), width, width)?,
            wide: Linear::load(&net.pp(0).pp("proj"), width, 4 * width)?,
            narrow: Linear::load(&net.pp(2), 4 * width, width)?,
        })
    }

    fn modulation(&self, condition: &Tensor) -> Result<Modulation> {
        let parts = self.modulation.forward(condition)?.chunk(6, D::Minus1)?;
        Ok(Modulation { parts })
    }

    /// The two gated residuals: attention, then feed-forward.
    fn finish(&self, x: &Tensor, attended: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let x = gated(x, &modulation.parts[2], &self.out.forward(attended)?)?;
        let n = modulated_norm(&x, &modulation.parts[3], &modulation.parts[4], EPS)?;
        gated(&x, &modulation.parts[5], &self.narrow.forward(&gelu_tanh(&self.wide.forward(&n)?)?)?)
    }
}

/// Shift, scale, gate for attention; shift, scale, gate for the feed-forward: each `[batch, width]`.
struct Modulation {
    parts: Vec<Tensor>,
}

impl Modulation {
    fn before_attention(&self, x: &Tensor) -> Result<Tensor> {
        modulated_norm(x, &self.parts[0], &self.parts[1], EPS)
    }
}

/// Queries, keys and values of one stream, the first two normalised per head.
struct Projections {
    heads: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
}

impl Projections {
    fn load(config: &FluxConfig, w: &Weights, names: &Names) -> Result<Self> {
        let width = config.width();
        let linear = |name: &str| Linear::load(&w.pp(name), width, width);
        let norm = |name: &str| RmsNorm::load(&w.pp(name), config.head_width, EPS);
        Ok(Self {
            heads: config.heads,
            q: linear(names.q)?,
            k: linear(names.k)?,
            v: linear(names.v)?,
            norm_q: norm(names.norm_q)?,
            norm_k: norm(names.norm_k)?,
        })
    }

    /// Each `[batch, heads, tokens, head width]`.
    fn project(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let heads = |linear: &Linear| split_heads(&linear.forward(x)?, self.heads);
        Ok((self.norm_q.forward(&heads(&self.q)?)?, self.norm_k.forward(&heads(&self.k)?)?, heads(&self.v)?))
    }
}

/// One stream of text and image: attention and feed-forward side by side.
pub(super) struct SingleBlock {
    modulation: Linear,
    attention: Projections,
    wide: Linear,
    out: Linear,
}

impl SingleBlock {
    pub(super) fn load(config: &FluxConfig, w: &Weights) -> Result<Self> {
        let width = config.width();
        Ok(Self {
            modulation: Linear::load(&w.pp("norm").pp("linear"), width, 3 * width)?,
            attention: Projections::load(config, &w.pp("attn"), &IMAGE)?,
            wide: Linear::load(&w.pp("proj_mlp"), width, 4 * width)?,
            out: Linear::load(&w.pp("proj_out"), 5 * width, width)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, condition: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let parts = self.modulation.forward(condition)?.chunk(3, D::Minus1)?;
        let n = modulated_norm(x, &parts[0], &parts[1], EPS)?;
        let (q, k, v) = self.attention.project(&n)?;
        let attended = attend(&q, &k, &v, rotary)?;
        let wide = gelu_tanh(&self.wide.forward(&n)?)?;
        let y = self.out.forward(&Tensor::cat(&[attended, wide], D::Minus1)?)?;
        within_half(gated(x, &parts[2], &y)?)
    }
}

/// Rotated attention, heads joined: `[batch, tokens, width]`.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, rotary: &Rotary) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(3)? as f64).sqrt();
    join_heads(&attention(&rotary.apply(q)?, &rotary.apply(k)?, v, scale, None)?)
}

/// x + gate · y, the gate `[batch, width]`.
fn gated(x: &Tensor, gate: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok((x + y.broadcast_mul(&gate.unsqueeze(1)?)?)?)
}
