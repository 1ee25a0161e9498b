//! Pictures that makers give: whole, of a known kind, and in the form that the endpoint promises.

use bytes::Bytes;
use image::DynamicImage;
use image::imageops::FilterType;

use super::{Kind, decode, encode};
use crate::core::call::MadeFile;
use crate::sizes::Size;

/// What a file has to be in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// The beginning of its name: `image`.
    pub(crate) stem: &'static str,
    /// Other kinds are written anew as this one.
    pub(crate) kind: Option<Kind>,
    /// Whether drawings of lines are expected.
    pub(crate) drawing: bool,
    /// The caller's size, and the size of the same aspect that was within the maker's limits.
    pub(crate) size: Option<(Size, Size)>,
}

impl Wish {
    /// As it comes.
    pub(crate) const fn named(stem: &'static str) -> Self {
        Self { stem, kind: None, drawing: false, size: None }
    }
}

/// Looks at every pixel of a file, and makes it what is wished for.
///
/// # Errors
/// What is wrong with the file, for the log.
pub(crate) fn made(bytes: Bytes, wish: Wish) -> Result<MadeFile, String> {
    let kind = Kind::of(&bytes).ok_or_else(|| format!("{} bytes that are not a picture", bytes.len()))?;
    if kind == Kind::Svg {
        return drawing(bytes, wish);
    }
    whole(&bytes, kind)?;
    let picture = decode(&bytes, kind).map_err(|e| format!("a broken {}: {e}", kind.extension()))?;
    let before = (picture.width(), picture.height());
    let picture = match wish.size {
        Some((caller, target)) => cut(picture, caller, target),
        None => picture,
    };
    let size = (picture.width(), picture.height());
    let wanted = wish.kind.unwrap_or(kind);
    let (kind, bytes) = match wanted == kind && size == before {
        true => (kind, bytes),
        // only PNG and JPEG are written here
        false => {
            let kind = if wanted == Kind::Jpeg { Kind::Jpeg } else { Kind::Png };
            (kind, encode(&picture, kind)?)
        }
    };
    Ok(MadeFile { bytes, content_type: kind.content_type(), name: name(wish.stem, kind), size: Some(size) })
}

fn name(stem: &str, kind: Kind) -> String {
    format!("{stem}.{}", kind.extension())
}

/// Decoders forgive a missing end; callers would not.
fn whole(bytes: &[u8], kind: Kind) -> Result<(), String> {
    let near_end = |mark: &[u8]| bytes[bytes.len().saturating_sub(4096)..].windows(mark.len()).any(|part| part == mark);
    let complete = match kind {
        Kind::Jpeg => near_end(&[0xff, 0xd9]),
        Kind::Png => near_end(b"IEND\xae\x42\x60\x82"),
        Kind::Webp => bytes.get(4..8).is_some_and(|size| {
            let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]);
            bytes.len() as u64 >= u64::from(size) + 8
        }),
        Kind::Gif | Kind::Svg => true,
    };
    if complete { Ok(()) } else { Err(format!("a {} that is cut off after {} bytes", kind.extension(), bytes.len())) }
}

fn drawing(bytes: Bytes, wish: Wish) -> Result<MadeFile, String> {
    if !wish.drawing {
        return Err("a vector drawing where a picture was expected".to_owned());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "a drawing that is not text".to_owned())?;
    let end = text.trim_end();
    // one element alone may be closed within itself
    let alone = end.ends_with("/>") && end.rfind('<').is_some_and(|last| end[last..].starts_with("<svg"));
    if !(end.ends_with("</svg>") || end.ends_with("</svg:svg>") || alone) {
        return Err(format!("a drawing that is cut off after {} bytes", bytes.len()));
    }
    let kind = Kind::Svg;
    Ok(MadeFile { bytes, content_type: kind.content_type(), name: name(wish.stem, kind), size: None })
}

/// To the caller's size where the picture is large enough, else to its aspect; never larger.
fn cut(picture: DynamicImage, caller: Size, target: Size) -> DynamicImage {
    let (width, height) = (picture.width(), picture.height());
    if (width, height) == caller {
        return picture;
    }
    if caller.0 <= width && caller.1 <= height {
        return picture.resize_to_fill(caller.0, caller.1, FilterType::Lanczos3);
    }
    // as much of it as has the target's aspect
    let scale = (f64::from(width) / f64::from(target.0)).min(f64::from(height) / f64::from(target.1));
    let side = |of: u32, most: u32| ((f64::from(of) * scale).round() as u32).clamp(1, most);
    let (w, h) = (side(target.0, width), side(target.1, height));
    if (w, h) == (width, height) { picture } else { picture.crop_imm((width - w) / 2, (height - h) / 2, w, h) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn file(width: u32, height: u32, kind: Kind) -> Bytes {
        let shade = |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 90]);
        encode(&DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, shade)), kind).expect("a picture")
    }

    const PLAIN: Wish = Wish::named("image");

    #[test]
    fn pictures_that_are_cut_off_are_noticed() {
        for kind in [Kind::Jpeg, Kind::Png] {
            let bytes = file(64, 48, kind);
            let made = made(bytes.clone(), PLAIN).expect("whole");
            assert_eq!((made.size, &made.bytes), (Some((64, 48)), &bytes));
            for kept in [0, 1, 10, bytes.len() / 2, bytes.len() - 2] {
                assert!(super::made(bytes.slice(..kept), PLAIN).is_err(), "{kind:?} {kept}");
            }
        }
        for other in [&b"<html>"[..], b"{}", b"RIFF\xff\0\0\0WEBPVP8L", b"<svg></svg>"] {
            assert!(made(Bytes::from_static(other), PLAIN).is_err());
        }
        let lines = Wish { drawing: true, ..PLAIN };
        let made = made(Bytes::from_static(b"<svg><g/></svg>\n"), lines).expect("a drawing");
        assert_eq!((made.content_type, made.name.as_str(), made.size), ("image/svg+xml", "image.svg", None));
        assert!(super::made(Bytes::from_static(b"<svg><g/>"), lines).is_err());
    }

    #[test]
    fn callers_get_their_size_where_there_is_enough_of_it() {
        let size = |asked: Size, caller: Size, target: Size| {
            let wish = Wish { size: Some((caller, target)), ..PLAIN };
            made(file(asked.0, asked.1, Kind::Jpeg), wish).expect("a picture").size.expect("pixels")
        };
        assert_eq!(size((1280, 736), (1280, 720), (1280, 720)), (1280, 720));
        assert_eq!(size((256, 256), (100, 100), (256, 256)), (100, 100));
        assert_eq!(size((1440, 1440), (2048, 2048), (1440, 1440)), (1440, 1440));
        assert_eq!(size((1440, 832), (1920, 1080), (1440, 810)), (1440, 810));
        assert_eq!(size((16, 12), (1024, 768), (1024, 768)), (16, 12));
        assert_eq!(size((1024, 1024), (1000, 1000), (1000, 1000)), (1000, 1000));
    }

    #[test]
    fn kinds_are_changed_where_that_is_promised() {
        let wish = Wish { kind: Some(Kind::Png), ..PLAIN };
        let made = made(file(20, 10, Kind::Jpeg), wish).expect("a picture");
        assert_eq!((made.content_type, made.name.as_str()), ("image/png", "image.png"));
        assert_eq!(Kind::of(&made.bytes), Some(Kind::Png));
    }
}
