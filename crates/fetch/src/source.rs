//! What stands in a field that names a file: a URL, or the file itself in a data URI.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::{Error, Result};

/// Padding is written by some and left out by others.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// From a host; to be opened with [`Fetcher::get`](crate::Fetcher::get), which checks it.
    Url(&'a str),
    /// It is here.
    Data(DataUri<'a>),
}

/// A data URI (RFC 2397), not yet decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataUri<'a> {
    /// What it says the file is: `image/png`; empty where it says nothing.
    pub content_type: &'a str,
    base64: bool,
    payload: &'a str,
}

impl<'a> Source<'a> {
    /// Reads what a user wrote.
    ///
    /// # Errors
    /// [`Error::Scheme`] for URLs of other kinds, [`Error::Malformed`] for text that is none, [`Error::Data`] for a data
    /// URI without data.
    pub fn parse(text: &'a str) -> Result<Self> {
        let text = text.trim();
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("data") => DataUri::parse(&text["data:".len()..]).map(Self::Data),
            Some("http" | "https") => Ok(Self::Url(text)),
            Some(other) if is_scheme(other) => Err(Error::Scheme { scheme: other.to_owned() }),
            _ => Err(Error::Malformed { reason: "it does not begin with a scheme".to_owned() }),
        }
    }
}

impl<'a> DataUri<'a> {
    fn parse(rest: &'a str) -> Result<Self> {
        let missing = || Error::Data { reason: "it has no comma before the data".to_owned() };
        let (head, payload) = rest.split_once(',').ok_or_else(missing)?;
        let (kind, base64) = match head.rsplit_once(';') {
            Some((kind, last)) if last.trim().eq_ignore_ascii_case("base64") => (kind, true),
            _ => (head, false),
        };
        Ok(Self { content_type: kind.trim(), base64, payload })
    }

    /// The file, if it has no more than `max` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Data`] for what is not base64.
    pub fn decode(&self, max: u64) -> Result<Bytes> {
        let decoded = if self.base64 { self.decode_base64(max)? } else { self.decode_percent(max)? };
        if decoded.len() as u64 > max { Err(Error::TooLarge { max }) } else { Ok(decoded.into()) }
    }

    fn decode_base64(&self, max: u64) -> Result<Vec<u8>> {
        // line breaks are common, and `+` and `=` come percent-encoded from URL builders
        let plain = !self.payload.bytes().any(|b| b == b'%' || b.is_ascii_whitespace());
        let cleaned: Vec<u8> = match plain {
            true => Vec::new(),
            false => percent_decode_str(self.payload).filter(|b| !b.is_ascii_whitespace()).collect(),
        };
        let payload = if plain { self.payload.as_bytes() } else { &cleaned };
        // three bytes in four letters; what is too long is not decoded first
        if (payload.len() as u64 / 4).saturating_mul(3) > max.saturating_add(3) {
            return Err(Error::TooLarge { max });
        }
        BASE64.decode(payload).map_err(|e| Error::Data { reason: format!("its data is not base64: {e}") })
    }

    fn decode_percent(&self, max: u64) -> Result<Vec<u8>> {
        let limit = usize::try_from(max.saturating_add(1)).unwrap_or(usize::MAX);
        Ok(percent_decode_str(self.payload).take(limit).collect())
    }
}

/// Whether what stands before a colon is the scheme of a URL (RFC 3986, 3.1). One letter is a drive of Windows.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_data(text: &str, content_type: &str, bytes: &[u8]) {
        let Ok(Source::Data(data)) = Source::parse(text) else { panic!("{text}") };
        assert_eq!((data.content_type, data.decode(64).as_deref()), (content_type, Ok(bytes)), "{text}");
    }

    #[test]
    fn data_uris_in_every_form() {
        check_data("data:image/png;base64,AAEC/w==", "image/png", &[0, 1, 2, 255]);
        check_data("data:image/png;base64,AAEC/w", "image/png", &[0, 1, 2, 255]);
        check_data("DATA:image/png;BASE64,AAEC%2Fw%3D%3D", "image/png", &[0, 1, 2, 255]);
        check_data(" data:image/png;base64,AA\n EC\r\n/w==\n", "image/png", &[0, 1, 2, 255]);
        check_data("data:image/svg+xml;charset=utf-8;base64,PHN2Zz4=", "image/svg+xml;charset=utf-8", b"<svg>");
        check_data("data:text/plain,a%20b%2c%ff%zz", "text/plain", b"a b,\xff%zz");
        check_data("data:,", "", b"");
        check_data("data:;base64,", "", b"");
    }

    #[test]
    fn data_uris_have_a_size_and_a_form() {
        let decode = |text: &str, max: u64| match Source::parse(text) {
            Ok(Source::Data(data)) => data.decode(max).map(|bytes| bytes.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(decode("data:;base64,AAECAw==", 4), Ok(4));
        assert_eq!(decode("data:;base64,AAECAw==", 3), Err(Error::TooLarge { max: 3 }));
        assert_eq!(decode("data:,%00%01%02%03", 4), Ok(4));
        assert_eq!(decode("data:,%00%01%02%03", 3), Err(Error::TooLarge { max: 3 }));
        let large = format!("data:;base64,{}", "!".repeat(1000));
        assert_eq!(decode(&large, 100), Err(Error::TooLarge { max: 100 }), "measured before it is decoded");
        assert!(matches!(decode("data:;base64,A*==", 9), Err(Error::Data { .. })));
        assert!(matches!(Source::parse("data:image/png;base64"), Err(Error::Data { .. })));
    }

    #[test]
    fn other_text_is_refused_with_a_reason() {
        assert_eq!(Source::parse(" https://a/b "), Ok(Source::Url("https://a/b")));
        assert_eq!(Source::parse("HTTP://a/b"), Ok(Source::Url("HTTP://a/b")));
        assert_eq!(Source::parse("file:///etc/passwd"), Err(Error::Scheme { scheme: "file".into() }));
        for bad in ["", "picture.png", "/tmp/a.png", "C:\\a.png", "//host/a.png", ":", "1a:b"] {
            assert!(matches!(Source::parse(bad), Err(Error::Malformed { .. })), "{bad}");
        }
    }
}
