//! Small pictures of how far a run is, for those who watch it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::error::{ParameterError, ParameterErrorKind};
use image::imageops::thumbnail;
use image::{ImageError, ImageResult, RgbImage};
use scumble_engine::Pixels;

/// Longest side of previews: what a page needs to show that something happens.
const SIDE: u32 = 128;
/// Quality of previews: they are seen for a moment.
const QUALITY: u8 = 75;

/// Whether this step is shown: the first, so that there is something to see early, and those at a fifth, two fifths,
/// … of the way. Never the last: the picture itself follows.
pub(crate) fn is_shown(done: usize, total: usize) -> bool {
    const PARTS: usize = 5;
    let part = |step: usize| step.saturating_mul(PARTS) / total.max(1);
    done < total && (done <= 1 || part(done) > part(done - 1))
}

/// The pixels, no larger than they need to be, as a JPEG in a data URI.
pub(crate) fn data_uri(pixels: Pixels) -> ImageResult<String> {
    let mut bytes = Vec::new();
    shrunk(pixels)?.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

fn shrunk(pixels: Pixels) -> ImageResult<RgbImage> {
    let (width, height) = (pixels.width as u32, pixels.height as u32);
    let mismatch = || ImageError::Parameter(ParameterError::from_kind(ParameterErrorKind::DimensionMismatch));
    let image = RgbImage::from_raw(width, height, pixels.rgb).ok_or_else(mismatch)?;
    let longest = width.max(height);
    let small = |side: u32| (side * SIDE / longest).max(1);
    Ok(if longest <= SIDE { image } else { thumbnail(&image, small(width), small(height)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_shrink_and_small_ones_stay() {
        let size = |width: usize, height: usize| {
            let pixels = Pixels { width, height, rgb: vec![7; width * height * 3] };
            let small = shrunk(pixels).expect("a picture");
            assert!(small.as_raw().iter().all(|b| *b == 7));
            small.dimensions()
        };
        assert_eq!(size(128, 96), (128, 96));
        assert_eq!(size(256, 128), (128, 64));
        assert_eq!(size(300, 1), (128, 1));
        let short = Pixels { width: 256, height: 256, rgb: vec![0; 9] };
        assert!(data_uri(short).is_err());
    }

    #[test]
    fn a_few_steps_are_shown_however_many_there_are() {
        let shown = |total: usize| (1..=total).filter(|done| is_shown(*done, total)).collect::<Vec<_>>();
        assert_eq!(shown(0), [0; 0]);
        assert_eq!(shown(1), [0; 0]);
        assert_eq!(shown(2), [1]);
        assert_eq!(shown(4), [1, 2, 3]);
        assert_eq!(shown(16), [1, 4, 7, 10, 13]);
        assert_eq!(shown(50), [1, 10, 20, 30, 40]);
        assert!((1..200).all(|total| shown(total).len() <= 5));
    }
}
