//! Pictures: those that callers give, checked before a maker is called; those that makers give, checked before they are
//! kept.

mod download;
mod input;
mod made;
mod mask;

use std::time::Duration;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageFormat};
use scumble_fetch::Budget;
use tokio::task::{JoinError, spawn_blocking};

pub(crate) use download::{NoFile, fetch};
pub(crate) use input::{Input, Takes, input};
pub(crate) use made::{Wish, made};
pub(crate) use mask::{grey, two_tone};

/// More pixels are never unpacked.
const PIXELS_MAX: u64 = 100_000_000;
/// Quality of JPEG files; fal's are 95.
const JPEG_QUALITY: u8 = 95;

/// Kinds of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Png,
    Jpeg,
    Webp,
    Gif,
    Svg,
}

impl Kind {
    /// By what the bytes begin with, whatever anybody says they are.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes) {
            Ok(ImageFormat::Png) => Some(Self::Png),
            Ok(ImageFormat::Jpeg) => Some(Self::Jpeg),
            Ok(ImageFormat::WebP) => Some(Self::Webp),
            Ok(ImageFormat::Gif) => Some(Self::Gif),
            Ok(_) => None,
            Err(_) => is_svg(bytes).then_some(Self::Svg),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Svg => "image/svg+xml",
        }
    }

    /// The end of a file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Svg => "svg",
        }
    }

    fn format(self) -> Option<ImageFormat> {
        match self {
            Self::Png => Some(ImageFormat::Png),
            Self::Jpeg => Some(ImageFormat::Jpeg),
            Self::Webp => Some(ImageFormat::WebP),
            Self::Gif => Some(ImageFormat::Gif),
            Self::Svg => None,
        }
    }
}

/// Whether a text is a drawing: its first element is `svg`.
fn is_svg(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let mut rest = head.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = match rest {
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<!") => ">",
            _ => return rest.starts_with("<svg") && rest[4..].starts_with([' ', '\t', '\r', '\n', '>', '/', ':']),
        };
        match rest.split_once(end) {
            Some((_, after)) => rest = after.trim_start(),
            None => return false,
        }
    }
}

/// Unpacks a picture of no more than so many pixels, the right way up.
fn decode(bytes: &[u8], kind: Kind) -> Result<DynamicImage, String> {
    kind.format().ok_or("vector drawings are not decoded")?;
    scumble_pictures::decode(bytes, PIXELS_MAX).map_err(|e| e.to_string())
}

/// Columns and rows, from the head alone.
fn dimensions(bytes: &[u8], kind: Kind) -> Result<(u32, u32), String> {
    kind.format().ok_or("a vector drawing has no pixels")?;
    scumble_pictures::head(bytes, u64::MAX).map(|head| (head.width, head.height)).map_err(|e| e.to_string())
}

fn encode(picture: &DynamicImage, kind: Kind) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    match kind {
        // JPEG has neither transparency nor 16 bits
        Kind::Jpeg => picture.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)),
        _ => picture.write_with_encoder(PngEncoder::new(&mut bytes)),
    }
    .map_err(|e| e.to_string())?;
    Ok(bytes.into())
}

/// How long pictures wait for room. A maker's are paid for: better late than never.
const ROOM: Duration = Duration::from_secs(120);

/// Runs what takes a while on a thread that may, with room for these pictures while they are unpacked.
pub(crate) async fn aside<T: Send + 'static>(
    memory: &Budget,
    pictures: Vec<Bytes>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let failed = |e: JoinError| format!("the picture's decoder failed: {e}");
    let cost = |bytes: &Bytes| scumble_pictures::head(bytes, PIXELS_MAX).map_or(0, |head| head.cost());
    let cost = spawn_blocking(move || pictures.iter().map(cost).sum()).await.map_err(failed)?;
    let share = memory.take(cost, ROOM).await.map_err(|e| e.to_string())?;
    let working = spawn_blocking(move || {
        let done = work();
        drop(share);
        done
    });
    working.await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_told_from_pages() {
        for drawing in
            ["<svg/>", "\u{feff} <?xml version=\"1.0\"?>\n<!-- <html> -->\n<!DOCTYPE svg>\n<svg xmlns='x'></svg>"]
        {
            assert_eq!(Kind::of(drawing.as_bytes()), Some(Kind::Svg), "{drawing}");
        }
        for other in ["", "<html><svg></svg></html>", "<svgx>", "{\"svg\":1}", "<!-- <svg> ", "plain"] {
            assert_eq!(Kind::of(other.as_bytes()), None, "{other}");
        }
    }
}
