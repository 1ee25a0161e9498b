//! Content types and the extensions that tell them.

/// What Scumble makes and takes. The first extension of a type is the one that new files get.
///
/// Markup that a browser would run is left out on purpose: such an upload is served as plain bytes.
const TYPES: &[(&str, &[&str])] = &[
    ("image/png", &["png"]),
    ("image/jpeg", &["jpg", "jpeg"]),
    ("image/webp", &["webp"]),
    ("image/gif", &["gif"]),
    ("image/avif", &["avif"]),
    ("image/bmp", &["bmp"]),
    ("image/tiff", &["tiff", "tif"]),
    ("image/svg+xml", &["svg"]),
    ("video/mp4", &["mp4"]),
    ("video/webm", &["webm"]),
    ("audio/mpeg", &["mp3"]),
    ("audio/wav", &["wav"]),
    ("application/json", &["json"]),
    ("application/pdf", &["pdf"]),
    ("application/zip", &["zip"]),
    ("application/gzip", &["gz"]),
    ("text/plain", &["txt"]),
];

/// The content type of bytes nothing is known about.
const UNKNOWN: &str = "application/octet-stream";

/// The content type that the extension of `name` tells; `application/octet-stream` when it tells none.
#[must_use]
pub fn content_type_of(name: &str) -> &'static str {
    let Some((_, extension)) = name.rsplit_once('.') else { return UNKNOWN };
    TYPES
        .iter()
        .find(|(_, extensions)| extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
        .map_or(UNKNOWN, |(content_type, _)| content_type)
}

/// The extension that tells this content type.
pub(crate) fn extension_for(content_type: &str) -> Option<&'static str> {
    let essence = essence(content_type);
    let (_, extensions) = TYPES.iter().find(|(known, _)| *known == essence)?;
    extensions.first().copied()
}

/// The content type without its parameters, in lower case: `text/plain` of `Text/Plain; charset=utf-8`.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
