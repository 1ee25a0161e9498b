//! Files of pictures that strangers give: their heads and their pixels, within limits.
//!
//! Decoders read more of a file than its pixels: colour profiles, texts, thumbnails. Half a megabyte of it can unpack to a
//! gigabyte, and none of it is drawn. So a decoder gets the file without it ([`mod@lean`]), and room for no more than the
//! pixels that the file's head says, which are counted first.
//!
//! Everything here computes and waits for nothing: call it from a thread that may.

pub mod lean;
mod turn;

use std::borrow::Cow;
use std::fmt;
use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, Limits};

/// What can be read; of several frames, the first.
pub const FORMATS: [(ImageFormat, &str); 4] =
    [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg"), (ImageFormat::WebP, "webp"), (ImageFormat::Gif, "gif")];

/// Room that decoders need beside the picture itself.
const SCRATCH_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of a pixel while it is decoded: four channels of 16 bits.
const PIXEL_BYTES: u64 = 8;

/// What the first bytes of a picture tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its format.
    pub format: ImageFormat,
    /// Columns, the right way up.
    pub width: u32,
    /// Rows, the right way up.
    pub height: u32,
}

/// The bytes are no picture that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// They are no picture.
    Unknown,
    /// A picture of a kind that is not read here.
    Unsupported(ImageFormat),
    /// Broken.
    Broken(String),
    /// More pixels than may be.
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// How many may be.
        max_pixels: u64,
    },
}

/// Reads the head of a picture of at most `max_pixels` pixels, not the picture.
///
/// # Errors
/// What keeps it from being one.
pub fn head(bytes: &[u8], max_pixels: u64) -> Result<Head, Undecodable> {
    let opened = Opened::of(bytes, max_pixels)?;
    let (width, height) = opened.decoder.dimensions();
    let (width, height) = if turn::lies(opened.orientation) { (height, width) } else { (width, height) };
    Ok(Head { format: opened.format, width, height })
}

/// Decodes a picture of at most `max_pixels` pixels, the right way up. Its size is read from its head, before there is
/// room for it.
///
/// # Errors
/// What keeps it from being one.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, Undecodable> {
    let Opened { decoder, orientation, .. } = Opened::of(bytes, max_pixels)?;
    let (width, height) = decoder.dimensions();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| match e {
        ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
            Undecodable::TooLarge { width, height, max_pixels }
        }
        other => broken(&other),
    })?;
    // cameras write pictures lying down and say so
    image.apply_orientation(orientation);
    Ok(image)
}

impl Head {
    /// Pixels in all.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Bytes of memory that decoding it takes, about.
    pub fn cost(&self) -> u64 {
        self.pixels().saturating_mul(PIXEL_BYTES)
    }
}

/// A file whose head was read.
struct Opened<'a> {
    format: ImageFormat,
    orientation: Orientation,
    decoder: Box<dyn ImageDecoder + 'a>,
}

impl<'a> Opened<'a> {
    /// A decoder of a known format, within limits.
    fn of(bytes: &'a [u8], max_pixels: u64) -> Result<Self, Undecodable> {
        let format = image::guess_format(bytes).map_err(|_| Undecodable::Unknown)?;
        if FORMATS.iter().all(|(known, _)| *known != format) {
            return Err(Undecodable::Unsupported(format));
        }
        let orientation = turn::orientation(bytes, format);
        let decoder = decoder(lean::lean(bytes, format), format, max_pixels)?;
        Ok(Self { format, orientation, decoder })
    }
}

fn decoder<'a>(
    bytes: Cow<'a, [u8]>,
    format: ImageFormat,
    max_pixels: u64,
) -> Result<Box<dyn ImageDecoder + 'a>, Undecodable> {
    let file = Cursor::new(bytes);
    let limits = |pixels: u64| {
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(pixels.saturating_mul(PIXEL_BYTES).saturating_add(SCRATCH_BYTES));
        limits
    };
    let opened: Result<Box<dyn ImageDecoder + 'a>, ImageError> = match format {
        // its limits hold from the first chunk on
        ImageFormat::Png => PngDecoder::with_limits(file, limits(max_pixels)).map(|d| Box::new(d) as _),
        ImageFormat::Jpeg => JpegDecoder::new(file).map(|d| Box::new(d) as _),
        ImageFormat::WebP => WebPDecoder::new(file).map(|d| Box::new(d) as _),
        ImageFormat::Gif => GifDecoder::new(file).map(|d| Box::new(d) as _),
        other => return Err(Undecodable::Unsupported(other)),
    };
    let mut decoder = opened.map_err(|e| broken(&e))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return Err(Undecodable::TooLarge { width, height, max_pixels });
    }
    // room for the pixels that it says it has, and not for a frame that is larger than its own canvas
    decoder.set_limits(limits(pixels)).map_err(|e| broken(&e))?;
    Ok(decoder)
}

fn broken(error: &ImageError) -> Undecodable {
    Undecodable::Broken(error.to_string())
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats = FORMATS.map(|(_, name)| name).join(", ");
        match self {
            Self::Unknown => write!(f, "The file is not an image; supported are {formats}"),
            Self::Unsupported(format) => {
                let name = format.extensions_str().first().copied().unwrap_or("this format");
                write!(f, "Images in {name} are not supported; supported are {formats}")
            }
            Self::Broken(reason) => write!(f, "The image cannot be decoded: {reason}"),
            Self::TooLarge { width, height, max_pixels } => {
                write!(f, "The image has {width} × {height} pixels; at most {max_pixels} are allowed in all")
            }
        }
    }
}

#[cfg(test)]
mod tests;
