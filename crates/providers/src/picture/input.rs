//! Pictures that callers give.

use bytes::Bytes;
use scumble_api::Problem;

use super::{Kind, decode, dimensions, encode};
use crate::core::error::MakerError;

/// What a maker takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    /// Bytes of a file.
    pub(crate) bytes: u64,
    /// Least side in pixels.
    pub(crate) least: u32,
    /// Pixels in all.
    pub(crate) pixels: u64,
}

/// A picture that a maker will take.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) bytes: Bytes,
    pub(crate) kind: Kind,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Checks the picture behind a field. Makers take PNG, JPEG and WebP; GIF becomes PNG.
pub(crate) fn input(field: &str, bytes: &Bytes, takes: Takes) -> Result<Input, MakerError> {
    const KINDS: [&str; 4] = ["png", "jpeg", "webp", "gif"];
    let list = KINDS.join(", ");
    let problem = |kind: &str, msg: String| Problem::new(&[field], kind, msg);
    let kind = match Kind::of(bytes) {
        Some(Kind::Svg) => {
            let msg = format!("Images in svg are not supported; supported are {list}");
            let problem = problem("unsupported_image_format", msg).with("supported_formats", KINDS.to_vec());
            return Err(MakerError::field(problem));
        }
        Some(kind) => kind,
        None => {
            let msg = format!("The file is not an image; supported are {list}");
            return Err(MakerError::field(problem("image_load_error", msg)));
        }
    };
    let broken = |reason: String| {
        MakerError::field(problem("image_load_error", format!("The image cannot be decoded: {reason}")))
    };
    let (width, height) = dimensions(bytes, kind).map_err(broken)?;
    if width < takes.least || height < takes.least {
        let least = takes.least;
        let msg = format!("The image has {width} × {height} pixels; each side needs at least {least}");
        let problem = problem("image_too_small", msg).with("min_width", least).with("min_height", least);
        return Err(MakerError::field(problem));
    }
    if u64::from(width) * u64::from(height) > takes.pixels {
        let (pixels, side) = (takes.pixels, takes.pixels.isqrt());
        let msg = format!("The image has {width} × {height} pixels; at most {pixels} are allowed in all");
        let problem = problem("image_too_large", msg).with("max_width", side).with("max_height", side);
        return Err(MakerError::field(problem));
    }
    let (kind, bytes) = match kind {
        Kind::Gif => (Kind::Png, decode(bytes, kind).and_then(|picture| encode(&picture, Kind::Png)).map_err(broken)?),
        kind => (kind, bytes.clone()),
    };
    if bytes.len() as u64 > takes.bytes {
        let most = takes.bytes;
        let msg = format!("The file has {} bytes; at most {most} are allowed here", bytes.len());
        return Err(MakerError::field(problem("file_too_large", msg).with("max_size", most)));
    }
    Ok(Input { bytes, kind, width, height })
}
