//! Which way up a picture is: Exif's word, wherever a format keeps it.

use image::ImageFormat;
use image::metadata::Orientation;

/// Exif that is longer says nothing of it that is looked for here.
const EXIF_MAX: usize = 64 * 1024;

/// How the pixels have to be turned; as they are, where nothing is said.
pub(crate) fn orientation(bytes: &[u8], format: ImageFormat) -> Orientation {
    let exif = match format {
        ImageFormat::Png => in_png(bytes),
        ImageFormat::Jpeg => in_jpeg(bytes),
        ImageFormat::WebP => in_webp(bytes),
        _ => None,
    };
    let exif = exif.filter(|exif| exif.len() <= EXIF_MAX);
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// Whether columns become rows.
pub(crate) fn lies(orientation: Orientation) -> bool {
    match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            true
        }
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    }
}

/// The chunk `eXIf`, before the pixels.
fn in_png(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(8..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        match kind {
            b"eXIf" => return after.get(..length),
            b"IDAT" | b"IEND" => return None,
            _ => rest = after.get(length.checked_add(4)?..)?,
        }
    }
}

/// The first APP1 segment that says it is Exif.
fn in_jpeg(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(2..)?;
    loop {
        rest = match rest {
            [0xff, 0xff, ..] => &rest[1..],
            [0xff, 0xc0..=0xcf | 0xdb..=0xdd | 0xe0..=0xfe, high, low, ..] => {
                let whole = 2 + usize::from(u16::from_be_bytes([*high, *low]));
                let data = rest.get(4..whole)?;
                if rest[1] == 0xe1
                    && let Some(exif) = data.strip_prefix(b"Exif\0\0")
                {
                    return Some(exif);
                }
                &rest[whole..]
            }
            _ => return None,
        };
    }
}

/// The chunk `EXIF` of the container.
fn in_webp(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (kind, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if kind == b"EXIF" {
            return after.get(..length);
        }
        rest = after.get(length.checked_add(length % 2)?..)?;
    }
}
