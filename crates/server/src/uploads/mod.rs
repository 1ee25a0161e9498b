//! Bytes that callers bring: under which path, of which type, with which life, and how they get there.
//!
//! Nothing is remembered about an upload before its bytes are here: what its row will say travels with the caller, in
//! a signed [`token`]. The row is written when the bytes are durable, and only a file with a row can be read.

mod credentials;
mod receive;
mod token;

use axum::http::{HeaderMap, HeaderName, header};
use scumble_api::{ErrorAnswer, Lifecycle, Problem};
use scumble_files::FilePath;

pub(crate) use self::credentials::{Reader, Uploader};
#[cfg(feature = "fuzz")]
pub(crate) use self::receive::meant;
pub(crate) use self::receive::{complete, part, whole};
pub(crate) use self::token::{Claims, Signer, Ticket, Unusable};
use crate::answer::Refusal;

/// How long an upload URL takes bytes: less than the day after which parts are thrown away.
pub(crate) const UPLOAD_MS: i64 = 20 * 60 * 60 * 1000;

/// Most parts of a file.
pub(crate) const PARTS_MAX: u32 = 10_000;

/// Largest part, in bytes.
pub(crate) const PART_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The name of a file that came without one.
const UNNAMED: &str = "upload.bin";

/// The type of a file that came without one.
const UNTYPED: &str = "application/octet-stream";

/// Longest content type, in bytes.
const CONTENT_TYPE_LENGTH_MAX: usize = 200;

/// The header's two names; Python sends both.
const LIFECYCLE: [&str; 2] = ["x-fal-object-lifecycle", "x-fal-object-lifecycle-preference"];

/// What becomes of the files of this request.
///
/// # Errors
/// 422 for a header that cannot be read: ignoring it could make public what somebody wanted hidden.
pub(crate) fn lifecycle(headers: &HeaderMap) -> Result<Lifecycle, Refusal> {
    let Some(header) = LIFECYCLE.iter().find_map(|name| headers.get(*name)) else { return Ok(Lifecycle::default()) };
    // the lossy reading of what is no text is no JSON either
    let parsed = Lifecycle::parse(&String::from_utf8_lossy(header.as_bytes()));
    parsed.map_err(|problem| ErrorAnswer::invalid(&[problem]).into())
}

/// A ticket for a new file of this name and type, and its path.
pub(crate) fn ticket(
    name: Option<&str>,
    content_type: Option<&str>,
    owner: Option<String>,
    lifecycle: Lifecycle,
) -> Result<(Ticket, FilePath), Refusal> {
    let content_type = checked_type(content_type.unwrap_or_default())?;
    let name = name.filter(|name| !name.is_empty()).unwrap_or(UNNAMED);
    let path = FilePath::fresh(name, &content_type)?;
    Ok((Ticket { path: path.to_string(), content_type, owner, lifecycle }, path))
}

/// A ticket for a file whose name and type are in headers.
pub(crate) fn ticket_of_headers(headers: &HeaderMap, owner: Option<String>) -> Result<(Ticket, FilePath), Refusal> {
    let text = |name: HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let name = text(HeaderName::from_static("x-fal-file-name")).map(|name| percent_decoded(&name));
    ticket(name.as_deref(), text(header::CONTENT_TYPE).as_deref(), owner, lifecycle(headers)?)
}

/// A content type that can be sent back as a header; none means plain bytes.
fn checked_type(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(UNTYPED.to_owned());
    }
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b));
    let is_type = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let is_value = text.len() <= CONTENT_TYPE_LENGTH_MAX && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if is_type && is_value {
        return Ok(text.to_owned());
    }
    let problem = Problem::new(&["content_type"], "value_error", "It must be a content type such as image/png");
    Err(ErrorAnswer::invalid(&[problem]).into())
}

/// Some clients percent-encode what does not fit a header. What is no code stays as it is.
fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|c| c.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|c| u8::from_str_radix(c, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_fit_for_a_header_or_refused() {
        for (given, kept) in [
            ("", "application/octet-stream"),
            (" image/png ", "image/png"),
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            ("application/vnd.api+json", "application/vnd.api+json"),
        ] {
            assert_eq!(checked_type(given).ok().as_deref(), Some(kept), "{given}");
        }
        let long = format!("image/{}", "x".repeat(200));
        for refused in
            ["image", "/", "image/", "/png", "image/p ng", "image/png\r\nx-evil: 1", "bild/größe", "a/b/c", &long]
        {
            assert!(checked_type(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn names_are_decoded_as_far_as_they_are_encoded() {
        for (given, name) in [
            ("a%20b.png", "a b.png"),
            ("100%.png", "100%.png"),
            ("%c3%A4", "ä"),
            ("%", "%"),
            ("%+1", "%+1"),
            ("ä", "ä"),
        ] {
            assert_eq!(percent_decoded(given), name);
        }
    }
}
