//! Double and single blocks.

use candle_core::{D, Tensor};

use super::transformer::{FluxConfig, within_half};
use crate::error::Result;
use crate::families::streams::{EPS, Heads, IMAGE, Projections, Stream, TEXT, split};
use crate::nn::{Activation, Linear, Rotary, join_tokens, modulated_norm};
use crate::weights::Weights;

/// Text and image with weights of their own, attending to both.
pub(super) struct DoubleBlock {
    image: Stream,
    text: Stream,
}

impl DoubleBlock {
    pub(super) fn load(config: &FluxConfig, w: &Weights) -> Result<Self> {
        let heads = heads(config);
        Ok(Self { image: Stream::load(heads, w, &IMAGE)?, text: Stream::load(heads, w, &TEXT)? })
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
        let (q, k, v) = (join_tokens(&tq, &iq)?, join_tokens(&tk, &ik)?, join_tokens(&tv, &iv)?);
        let attended = self.image.attention.attend(&(rotary.apply(&q)?, rotary.apply(&k)?, v))?;
        let (text_part, image_part) = split(&attended, text.dim(1)?)?;
        let image = self.image.finish(image, &image_part, &image_mod)?;
        let text = self.text.finish(text, &text_part, &text_mod)?;
        Ok((within_half(text)?, image))
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
            attention: Projections::load(heads(config), &w.pp("attn"), &IMAGE)?,
            wide: Linear::load(&w.pp("proj_mlp"), width, 4 * width)?,
            out: Linear::load(&w.pp("proj_out"), 5 * width, width)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, condition: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let parts = self.modulation.forward(condition)?.chunk(3, D::Minus1)?;
        let n = modulated_norm(x, &parts[0], &parts[1], EPS)?;
        let (q, k, v) = self.attention.project(&n)?;
        let attended = self.attention.attend(&(rotary.apply(&q)?, rotary.apply(&k)?, v))?;
        let wide = self.wide.activated(&n, Activation::GeluTanh)?;
        within_half(self.out.gated(&Tensor::cat(&[attended, wide], D::Minus1)?, x, &parts[2])?)
    }
}

fn heads(config: &FluxConfig) -> Heads {
    Heads { count: config.heads, width: config.head_width }
}
