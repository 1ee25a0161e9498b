//! Joint blocks: image and text with weights of their own, attending to both. The last one only reads the text.

use candle_core::{D, Tensor};

use super::ip_adapter::PictureAttention;
use crate::error::{Error, Result};
use crate::families::streams::{EPS, Heads, IMAGE, Projections, Qkv, Stream, TEXT, split};
use crate::nn::{Linear, attention, join_heads, join_tokens, modulated_norm};
use crate::weights::Weights;

pub(super) struct JointBlock {
    image: Stream,
    text: TextSide,
}

/// The text's part of a block.
enum TextSide {
    /// Changes the text as well.
    Whole(Stream),
    /// Is attended to, and ends here.
    Read(Reader),
}

/// What is left of a stream that nothing comes out of.
struct Reader {
    modulation: Linear,
    attention: Projections,
}

impl JointBlock {
    pub(super) fn load(heads: Heads, w: &Weights, is_last: bool) -> Result<Self> {
        let text = if is_last {
            TextSide::Read(Reader::load(heads, w)?)
        } else {
            TextSide::Whole(Stream::load(heads, w, &TEXT)?)
        };
        Ok(Self { image: Stream::load(heads, w, &IMAGE)?, text })
    }

    /// Image and text tokens in; image tokens out, and text tokens unless this is the last block. Where a picture is followed,
    /// with the number of this block.
    pub(super) fn forward(
        &self,
        image: &Tensor,
        text: &Tensor,
        condition: &Tensor,
        picture: Option<(&PictureAttention<'_>, usize)>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let image_mod = self.image.modulation(condition)?;
        let before_norms = self.image.attention.before_norms(&image_mod.before_attention(image)?)?;
        let image_qkv = self.image.attention.normed(&before_norms)?;
        let with_picture = |attended: Tensor| match picture {
            Some((picture, block)) => Ok((attended + picture.attend(block, &before_norms)?)?),
            None => Ok::<_, Error>(attended),
        };
        match &self.text {
            TextSide::Whole(stream) => {
                let text_mod = stream.modulation(condition)?;
                let text_qkv = stream.attention.project(&text_mod.before_attention(text)?)?;
                let (image_part, text_part) =
                    split(&self.image.attention.attend(&joined(&image_qkv, &text_qkv)?)?, image.dim(1)?)?;
                let image = self.image.finish(image, &with_picture(image_part)?, &image_mod)?;
                Ok((image, Some(stream.finish(text, &text_part, &text_mod)?)))
            }
            TextSide::Read(reader) => {
                let text_qkv = reader.project(text, condition)?;
                let (image_part, _) =
                    split(&self.image.attention.attend(&joined(&image_qkv, &text_qkv)?)?, image.dim(1)?)?;
                Ok((self.image.finish(image, &with_picture(image_part)?, &image_mod)?, None))
            }
        }
    }
}

impl Reader {
    fn load(heads: Heads, w: &Weights) -> Result<Self> {
        let width = heads.total();
        Ok(Self {
            modulation: Linear::load(&w.pp(TEXT.modulation).pp("linear"), width, 2 * width)?,
            attention: Projections::load(heads, &w.pp("attn"), &TEXT)?,
        })
    }

    fn project(&self, text: &Tensor, condition: &Tensor) -> Result<Qkv> {
        // scale first here, unlike in the other blocks
        let parts = self.modulation.forward(condition)?.chunk(2, D::Minus1)?;
        self.attention.project(&modulated_norm(text, &parts[1], &parts[0], EPS)?)
    }
}

/// Image and text tokens, in this order.
fn joined(image: &Qkv, text: &Qkv) -> Result<Qkv> {
    let (q, k) = (join_tokens(&image.0, &text.0)?, join_tokens(&image.1, &text.1)?);
    Ok((q, k, join_tokens(&image.2, &text.2)?))
}

/// Attention with heads joined: `[batch, tokens, width]`.
pub(super) fn attended((q, k, v): &Qkv) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(3)? as f64).sqrt();
    join_heads(&attention(q, k, v, scale, None)?)
}
