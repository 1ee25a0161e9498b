//! Sizes of what is drawn and of what is given.

use crate::call::Call;
use crate::error::{Error, Result};
use crate::pixels::Pixels;
use crate::stages::Canvas;
use crate::vae::VaeConfig;

/// Pixels of a picture, drawn or given, at most.
const AREA: f64 = 1024.0 * 1024.0;
/// The longest side of a given one.
const SIDE: f64 = 1024.0;

/// The sizes of a call, in pixels, width first.
pub(super) struct Measures {
    pub(super) canvas: Canvas,
    /// Of the given pictures, as they are looked at.
    pub(super) pictures: Vec<(usize, usize)>,
    /// Of the result.
    pub(super) result: (usize, usize),
}

impl Measures {
    /// Of a call at a model that draws multiples of so many pixels. With one given picture the result has that one's size,
    /// as it is looked at; otherwise the size that is asked for, which is drawn with at most [`AREA`] pixels.
    pub(super) fn of(call: &Call, multiple: usize, vae: &VaeConfig) -> Result<Self> {
        let numbered = call.pictures.iter().enumerate();
        let pictures: Vec<_> = numbered.map(|(i, picture)| seen(i, picture, multiple)).collect::<Result<_>>()?;
        let asked = (call.width, call.height);
        let (drawn, result) = match pictures[..] {
            [only] => (only, only),
            _ => (fitted(asked, reduction(asked), multiple), asked),
        };
        if drawn.0 == 0 || drawn.1 == 0 {
            let (width, height) = asked;
            let problem = format!(
                "must be at least {multiple}×{multiple}, after both sides are reduced until the picture has at most \
                 1024×1024 pixels; got {width}×{height}"
            );
            return Err(Error::Parameter { name: "image_size", problem });
        }
        let factor = vae.factor();
        let (width, height) = (drawn.0 / factor, drawn.1 / factor);
        let canvas = Canvas { width, height, channels: vae.latent_channels, images: call.images };
        Ok(Self { canvas, pictures, result })
    }
}

/// How a given picture is looked at: never enlarged.
fn seen(number: usize, picture: &Pixels, multiple: usize) -> Result<(usize, usize)> {
    let size = (picture.width, picture.height);
    let by = reduction(size).min(SIDE / size.0.max(size.1) as f64);
    match fitted(size, by, multiple) {
        (0, _) | (_, 0) => {
            let problem = format!(
                "must be at least {multiple}×{multiple} pixels each, after they are reduced until no side is longer than \
                 1024; picture {} has {}×{}",
                number + 1,
                size.0,
                size.1
            );
            Err(Error::Parameter { name: "input_image_urls", problem })
        }
        seen => Ok(seen),
    }
}

/// What brings a size down to [`AREA`]; at most 1.
fn reduction((width, height): (usize, usize)) -> f64 {
    (AREA / (width as f64 * height as f64)).sqrt().min(1.0)
}

/// Rounded down twice, as the reference does: to whole pixels, then to the multiple.
fn fitted((width, height): (usize, usize), by: f64, multiple: usize) -> (usize, usize) {
    let side = |side: usize| (side as f64 * by) as usize / multiple * multiple;
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(width: usize, height: usize) -> Option<(usize, usize)> {
        seen(0, &Pixels { width, height, rgb: Vec::new() }, 16).ok()
    }

    #[test]
    fn given_pictures_shrink_to_a_million_pixels_and_a_side_of_1024() {
        for (given, expected) in [
            ((1024, 1024), (1024, 1024)),
            ((1000, 1000), (992, 992)),
            ((16, 31), (16, 16)),
            ((4000, 3000), (1024, 768)),
            ((3000, 4000), (768, 1024)),
            ((2048, 512), (1024, 256)),
            ((1536, 1024), (1024, 672)),
        ] {
            assert_eq!(looked_at(given.0, given.1), Some(expected), "{given:?}");
        }
        for (width, height) in [(15, 900), (900, 15), (0, 0), (0, 40), (4096, 63), (1025, 16)] {
            assert_eq!(looked_at(width, height), None, "{width}×{height}");
        }
    }

    #[test]
    fn drawn_pictures_shrink_to_a_million_pixels_whatever_their_sides() {
        for (asked, expected) in [
            ((1024, 1024), (1024, 1024)),
            ((100, 70), (96, 64)),
            ((2048, 2048), (1024, 1024)),
            ((4096, 1024), (2048, 512)),
            ((1920, 1080), (1360, 768)),
            ((8, 900), (0, 896)),
        ] {
            assert_eq!(fitted(asked, reduction(asked), 16), expected, "{asked:?}");
        }
    }
}
