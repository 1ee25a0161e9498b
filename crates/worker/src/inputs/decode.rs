//! From bytes to pixels.

use std::fmt;

use scumble_api::Problem;
use scumble_pictures::{FORMATS, Undecodable};

use super::with_text;

/// A picture that a caller gave, the right way up.
#[derive(Clone, PartialEq, Eq)]
pub struct InputImage {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Row by row.
    pub pixels: InputPixels,
}

/// Bytes of pixels.
#[derive(Clone, PartialEq, Eq)]
pub enum InputPixels {
    /// Three bytes for each.
    Rgb(Vec<u8>),
    /// Four bytes for each, where the file has transparency.
    Rgba(Vec<u8>),
}

/// Decodes a picture of at most `max_pixels` pixels.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<InputImage, Undecodable> {
    let image = scumble_pictures::decode(bytes, max_pixels)?;
    let (width, height) = (image.width(), image.height());
    let pixels = match image.color().has_alpha() {
        true => InputPixels::Rgba(image.into_rgba8().into_raw()),
        false => InputPixels::Rgb(image.into_rgb8().into_raw()),
    };
    Ok(InputImage { width, height, pixels })
}

/// What fal's clients know for it, at the field where the caller can mend it.
pub(super) fn problem(undecodable: &Undecodable, loc: &[&str], text: &str) -> Problem {
    let problem = |kind| Problem::new(loc, kind, undecodable.to_string());
    let problem = match undecodable {
        Undecodable::Unknown | Undecodable::Broken(_) => problem("image_load_error"),
        Undecodable::Unsupported(_) => {
            let formats: Vec<&str> = FORMATS.iter().map(|(_, name)| *name).collect();
            problem("unsupported_image_format").with("supported_formats", formats)
        }
        Undecodable::TooLarge { max_pixels, .. } => {
            let side = max_pixels.isqrt();
            problem("image_too_large").with("max_width", side).with("max_height", side)
        }
    };
    with_text(problem, text)
}

impl fmt::Debug for InputImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.pixels {
            InputPixels::Rgb(_) => "RGB",
            InputPixels::Rgba(_) => "RGBA",
        };
        write!(f, "InputImage({} × {} {kind})", self.width, self.height)
    }
}
