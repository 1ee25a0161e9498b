//! Small pictures of how far a run is, for those who watch it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};
use scumble_engine::Pixels;

/// Quality of previews: they are seen for a moment.
const QUALITY: u8 = 75;

/// Whether this step is shown: the first, so that there is something to see early, and those at a fifth, two fifths,
/// … of the way. Never the last: the picture itself follows.
pub(crate) fn is_shown(done: usize, total: usize) -> bool {
    const PARTS: usize = 5;
    let part = |step: usize| step.saturating_mul(PARTS) / total.max(1);
    done < total && (done <= 1 || part(done) > part(done - 1))
}

/// The pixels as a JPEG in a data URI.
pub(crate) fn data_uri(pixels: &Pixels) -> ImageResult<String> {
    let (width, height) = (pixels.width as u32, pixels.height as u32);
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    encoder.write_image(&pixels.rgb, width, height, ExtendedColorType::Rgb8)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
