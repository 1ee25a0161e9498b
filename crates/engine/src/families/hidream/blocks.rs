//! The blocks of HiDream-I1.

use candle_core::{D, Tensor};

use super::attention::{Places, Projections, Qkv};
use super::config::HiDreamConfig;
use super::experts::{Experts, FEED};
use crate::error::Result;
use crate::families::streams::{EPS, split};
use crate::nn::{Linear, SwiGlu, gated, modulated_norm};
use crate::weights::Weights;

/// Image and text with weights of their own, attending together.
pub(super) struct JointBlock {
    modulation: Linear,
    image: Projections,
    text: Projections,
    image_feed: Experts,
    text_feed: SwiGlu,
}

/// Image and text in one sequence with one set of weights.
pub(super) struct SingleBlock {
    modulation: Linear,
    attention: Projections,
    feed: Experts,
}

/// Shift, scale and gate of attention, then of the feed-forward, each `[batch, width]`.
struct Modulation<'a>(&'a [Tensor]);

impl JointBlock {
    pub(super) fn load(config: &HiDreamConfig, w: &Weights) -> Result<Self> {
        let (width, attend) = (config.width(), w.pp("attn1"));
        Ok(Self {
            modulation: Linear::load(&w.pp("adaLN_modulation").pp(1), width, 12 * width)?,
            image: Projections::load(config.heads(), &attend, "")?,
            text: Projections::load(config.heads(), &attend, "_t")?,
            image_feed: Experts::load(config, &w.pp("ff_i"))?,
            text_feed: SwiGlu::load(&w.pp("ff_t"), FEED, width, config.wide())?,
        })
    }

    /// Image and text tokens; the condition is behind its SiLU.
    pub(super) fn forward(
        &self,
        image: &Tensor,
        text: &Tensor,
        condition: &Tensor,
        places: &Places,
    ) -> Result<(Tensor, Tensor)> {
        let parts = self.modulation.forward(condition)?.chunk(12, D::Minus1)?;
        let (of_image, of_text) = (Modulation(&parts[..6]), Modulation(&parts[6..]));
        let image_qkv = self.image.project(&of_image.before_attention(image)?)?;
        let text_qkv = self.text.project(&of_text.before_attention(text)?)?;
        let attended = self.image.attend(&Qkv::joined(&image_qkv, &text_qkv)?, places)?;
        let (to_image, to_text) = split(&attended, image.dim(1)?)?;
        let image = of_image.attended(image, &self.image.out(&to_image)?)?;
        let text = of_text.attended(text, &self.text.out(&to_text)?)?;
        let image = of_image.fed(&image, |n| self.image_feed.forward(n))?;
        let text = of_text.fed(&text, |n| self.text_feed.forward(n))?;
        Ok((image, text))
    }
}

impl SingleBlock {
    pub(super) fn load(config: &HiDreamConfig, w: &Weights) -> Result<Self> {
        let width = config.width();
        Ok(Self {
            modulation: Linear::load(&w.pp("adaLN_modulation").pp(1), width, 6 * width)?,
            attention: Projections::load(config.heads(), &w.pp("attn1"), "")?,
            feed: Experts::load(config, &w.pp("ff_i"))?,
        })
    }

    /// All tokens, image first.
    pub(super) fn forward(&self, tokens: &Tensor, condition: &Tensor, places: &Places) -> Result<Tensor> {
        let parts = self.modulation.forward(condition)?.chunk(6, D::Minus1)?;
        let modulation = Modulation(&parts);
        let qkv = self.attention.project(&modulation.before_attention(tokens)?)?;
        let attended = self.attention.out(&self.attention.attend(&qkv, places)?)?;
        let tokens = modulation.attended(tokens, &attended)?;
        modulation.fed(&tokens, |n| self.feed.forward(n))
    }
}

impl Modulation<'_> {
    fn before_attention(&self, x: &Tensor) -> Result<Tensor> {
        modulated_norm(x, &self.0[0], &self.0[1], EPS)
    }

    fn attended(&self, x: &Tensor, attended: &Tensor) -> Result<Tensor> {
        gated(x, &self.0[2], attended)
    }

    fn fed(&self, x: &Tensor, feed: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        gated(x, &self.0[5], &feed(&modulated_norm(x, &self.0[3], &self.0[4], EPS)?)?)
    }
}
