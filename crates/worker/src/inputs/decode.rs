//! From bytes to pixels.

use std::fmt;
use std::io::Cursor;

use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use scumble_api::{ImageSize, Problem};

use super::with_text;

/// What can be read; of several frames, the first.
const FORMATS: &[(ImageFormat, &str)] =
    &[(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg"), (ImageFormat::WebP, "webp"), (ImageFormat::Gif, "gif")];

/// Room that decoders need beside the picture itself.
const SCRATCH_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of a pixel while it is decoded: four channels of 16 bits.
const PIXEL_BYTES: u64 = 8;

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

/// The bytes are no picture that can be used.
#[derive(Debug)]
pub(super) enum Undecodable {
    /// They are no picture.
    Unknown,
    /// A picture of a kind that is not read here.
    Unsupported(ImageFormat),
    /// Broken.
    Broken(String),
    /// More pixels than may be.
    TooLarge { width: u32, height: u32, max_pixels: u64 },
}

/// What the first bytes of a picture tell.
pub(super) struct Head {
    pub(super) content_type: &'static str,
    pub(super) size: ImageSize,
}

/// Reads the head of a picture of at most `max_pixels` pixels, not the picture.
pub(super) fn head(bytes: &[u8], max_pixels: u64) -> Result<Head, Undecodable> {
    let (format, mut decoder) = open(bytes, max_pixels)?;
    let (width, height) = decoder.dimensions();
    let turned = match decoder.orientation().map_err(|e| broken(&e))? {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            true
        }
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    };
    let (width, height) = if turned { (height, width) } else { (width, height) };
    Ok(Head { content_type: format.to_mime_type(), size: ImageSize { width, height } })
}

/// Decodes a picture of at most `max_pixels` pixels. Its size is read from its head, before there is room for it.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<InputImage, Undecodable> {
    let (_, mut decoder) = open(bytes, max_pixels)?;
    let (width, height) = decoder.dimensions();
    // cameras write pictures lying down and say so
    let orientation = decoder.orientation().map_err(|e| broken(&e))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| match e {
        ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
            Undecodable::TooLarge { width, height, max_pixels }
        }
        other => broken(&other),
    })?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    let pixels = match image.color().has_alpha() {
        true => InputPixels::Rgba(image.into_rgba8().into_raw()),
        false => InputPixels::Rgb(image.into_rgb8().into_raw()),
    };
    Ok(InputImage { width, height, pixels })
}

/// A decoder of a known format, within limits.
fn open(bytes: &[u8], max_pixels: u64) -> Result<(ImageFormat, impl ImageDecoder + '_), Undecodable> {
    let format = image::guess_format(bytes).map_err(|_| Undecodable::Unknown)?;
    if FORMATS.iter().all(|(known, _)| *known != format) {
        return Err(Undecodable::Unsupported(format));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(PIXEL_BYTES).saturating_add(SCRATCH_BYTES));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| broken(&e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(Undecodable::TooLarge { width, height, max_pixels });
    }
    Ok((format, decoder))
}

fn broken(error: &ImageError) -> Undecodable {
    Undecodable::Broken(error.to_string())
}

impl Undecodable {
    pub(super) fn problem(&self, loc: &[&str], text: &str) -> Problem {
        let formats: Vec<&str> = FORMATS.iter().map(|(_, name)| *name).collect();
        let list = formats.join(", ");
        let problem = match self {
            Self::Unknown => {
                Problem::new(loc, "image_load_error", format!("The file is not an image; supported are {list}"))
            }
            Self::Unsupported(format) => {
                let name = format.extensions_str().first().copied().unwrap_or("this format");
                let msg = format!("Images in {name} are not supported; supported are {list}");
                Problem::new(loc, "unsupported_image_format", msg).with("supported_formats", formats)
            }
            Self::Broken(reason) => {
                Problem::new(loc, "image_load_error", format!("The image cannot be decoded: {reason}"))
            }
            Self::TooLarge { width, height, max_pixels } => {
                let side = max_pixels.isqrt();
                let msg = format!("The image has {width} × {height} pixels; at most {max_pixels} are allowed in all");
                Problem::new(loc, "image_too_large", msg).with("max_width", side).with("max_height", side)
            }
        };
        with_text(problem, text)
    }
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
