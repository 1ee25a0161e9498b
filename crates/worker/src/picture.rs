//! Pixels to files.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::error::{ImageError, ImageFormatHint, UnsupportedError, UnsupportedErrorKind};
use image::{ExtendedColorType, ImageEncoder, ImageResult};
use scumble_api::ImageFormat;
use scumble_engine::Pixels;

/// Quality of JPEG files; fal's are 95.
pub(crate) const JPEG_QUALITY: u8 = 95;

/// An encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Their format.
    pub format: ImageFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Picture {
    /// Encodes pixels; the same pixels give the same bytes.
    ///
    /// # Errors
    /// Sizes that the format cannot hold.
    pub fn encode(pixels: &Pixels, format: ImageFormat) -> ImageResult<Self> {
        Self::encode_with(pixels, format, CompressionType::Default, FilterType::Adaptive)
    }

    /// Encodes plain grounds and letters, where looking for the best encoding is not worth its time.
    ///
    /// # Errors
    /// Sizes that the format cannot hold.
    pub fn encode_card(pixels: &Pixels, format: ImageFormat) -> ImageResult<Self> {
        Self::encode_with(pixels, format, CompressionType::Fast, FilterType::Up)
    }

    fn encode_with(
        pixels: &Pixels,
        format: ImageFormat,
        compression: CompressionType,
        filter: FilterType,
    ) -> ImageResult<Self> {
        let (width, height) = (pixels.width as u32, pixels.height as u32);
        let bytes = match format {
            ImageFormat::Png => {
                let mut bytes = Vec::new();
                let png = PngEncoder::new_with_quality(&mut bytes, compression, filter);
                png.write_image(&pixels.rgb, width, height, ExtendedColorType::Rgb8)?;
                bytes
            }
            other => write_with(&pixels.rgb, (width, height), ExtendedColorType::Rgb8, other, JPEG_QUALITY)?,
        };
        Ok(Self { bytes, format, width, height })
    }
}

/// Samples as a file; `quality` is for JPEG.
pub(crate) fn write_with(
    samples: &[u8],
    (width, height): (u32, u32),
    color: ExtendedColorType,
    format: ImageFormat,
    quality: u8,
) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    match format {
        ImageFormat::Jpeg => {
            JpegEncoder::new_with_quality(&mut bytes, quality).write_image(samples, width, height, color)?;
        }
        ImageFormat::Png => PngEncoder::new(&mut bytes).write_image(samples, width, height, color)?,
        ImageFormat::Webp => WebPEncoder::new_lossless(&mut bytes).write_image(samples, width, height, color)?,
        ImageFormat::Svg => return Err(no_shapes()),
    }
    Ok(bytes)
}

/// Pixels have no shapes to write.
fn no_shapes() -> ImageError {
    let hint = ImageFormatHint::Name("SVG".into());
    ImageError::Unsupported(UnsupportedError::from_format_and_kind(hint.clone(), UnsupportedErrorKind::Format(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_keeps_every_pixel_and_repeats_its_bytes() {
        let rgb: Vec<u8> = (0..5 * 3 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let pixels = Pixels { width: 5, height: 3, rgb: rgb.clone() };
        let picture = Picture::encode(&pixels, ImageFormat::Png).expect("a small picture");
        assert_eq!(picture, Picture::encode(&pixels, ImageFormat::Png).expect("a small picture"));
        let card = Picture::encode_card(&pixels, ImageFormat::Png).expect("a small picture");
        for picture in [picture, card] {
            assert_eq!(image::load_from_memory(&picture.bytes).expect("a PNG").to_rgb8().into_raw(), rgb);
        }
    }
}
