//! Where a file is kept: the only form of path that reaches the disk.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, content_type};

/// The folder of all files, so that a bucket or directory can hold other things beside it.
pub(crate) const FOLDER: &str = "b";

/// Random bytes in a path: 128 bits cannot be guessed, and two files never meet.
const RANDOM_BYTES: usize = 16;

/// Longest name that is kept of a file.
const NAME_LENGTH_MAX: usize = 100;

/// The path of a file: `b/<32 hex digits>/<name>`.
///
/// The name consists of ASCII letters, digits, `-`, `_` and `.`, and does not begin with a dot. There is no other form,
/// so `..`, absolute paths, backslashes, NUL and percent-encoding have no way in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// A fresh path for a file that its maker calls `name`. What is not fit for a path is taken out of the name, and
    /// its extension is made to fit the content type, because on disk nothing else tells it.
    ///
    /// # Errors
    ///
    /// [`Error::NoRandomness`].
    pub fn fresh(name: &str, content_type: &str) -> Result<Self> {
        Ok(Self(format!("{FOLDER}/{}/{}", random_hex()?, fitting_name(name, content_type))))
    }

    /// The random part.
    pub(crate) fn random(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }

    /// The whole path, as in `b/3f9a…/image.png`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part, as in `image.png`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.as_str(), |(_, name)| name)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FilePath {
    type Err = ParseFilePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let (Some(FOLDER), Some(random), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseFilePathError);
        };
        let is_name =
            (1..=NAME_LENGTH_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_name_char);
        if is_random_hex(random) && is_name { Ok(Self(text.to_owned())) } else { Err(ParseFilePathError) }
    }
}

/// The text is not the path of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a file: expected something like {FOLDER}/3f9a0c5be1d24f6782ab90cd13ef5a77/image.png")]
pub struct ParseFilePathError;

/// What nobody can guess, as 32 hex digits.
pub(crate) fn random_hex() -> Result<String> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| Error::NoRandomness { reason: error.to_string() })?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

/// Whether a text could be [`random_hex`].
pub(crate) fn is_random_hex(text: &str) -> bool {
    text.len() == 2 * RANDOM_BYTES && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// What is left of `name` when it has to be one part of a path, with an extension that tells the content type.
fn fitting_name(name: &str, content_type: &str) -> String {
    // Some clients send whole paths, of either kind of system.
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let fit: String = last.chars().map(|c| if is_name_char(c) { c } else { '_' }).collect();
    let fit = fit.trim_matches(['.', '_']);
    let fit = if fit.is_empty() { "file" } else { fit };

    match content_type::extension_for(content_type) {
        Some(extension) if content_type::content_type_of(fit) != content_type::essence(content_type) => {
            let stem = fit.rsplit_once('.').map_or(fit, |(stem, _)| stem);
            format!("{}.{extension}", shortened(stem, NAME_LENGTH_MAX - extension.len() - 1))
        }
        _ => shortened_stem(fit),
    }
}

/// Shortens the part before the extension, so that the extension stays.
fn shortened_stem(name: &str) -> String {
    const EXTENSION_LENGTH_MAX: usize = 16;
    match name.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= EXTENSION_LENGTH_MAX => {
            format!("{}.{extension}", shortened(stem, NAME_LENGTH_MAX - extension.len() - 1))
        }
        _ => shortened(name, NAME_LENGTH_MAX).to_owned(),
    }
}

/// The first `length` characters of `ascii`.
fn shortened(ascii: &str, length: usize) -> &str {
    ascii.get(..length).unwrap_or(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(name: &str, content_type: &str, expected: &str) {
        let fitted = fitting_name(name, content_type);
        assert_eq!(fitted, expected);
        let path = format!("b/{:032x}/{fitted}", 7);
        assert_eq!(path.parse::<FilePath>().map(|path| path.name().to_owned()), Ok(fitted));
    }

    #[test]
    fn names_are_made_fit() {
        check_name("image.png", "image/png", "image.png");
        check_name("image.PNG", "image/png", "image.PNG");
        check_name("photo.jpeg", "image/jpeg", "photo.jpeg");
        check_name("two words.png", "image/png", "two_words.png");
        check_name("../../etc/passwd", "text/plain", "passwd.txt");
        check_name("C:\\pictures\\cat.webp", "image/webp", "cat.webp");
        check_name("..", "image/png", "file.png");
        check_name("", "application/x-unknown", "file");
        check_name(".hidden", "application/octet-stream", "hidden");
        check_name("naïve\0.png", "image/png", "na_ve_.png");
        check_name("a%2e%2e%2fb.png", "image/png", "a_2e_2e_2fb.png");
        check_name("archive.tar.gz", "application/gzip", "archive.tar.gz");
    }

    #[test]
    fn the_extension_follows_the_content_type() {
        check_name("image.html", "image/png", "image.png");
        check_name("image", "image/jpeg; charset=binary", "image.jpg");
        check_name("data.safetensors", "application/octet-stream", "data.safetensors");
    }

    #[test]
    fn long_names_keep_their_extension() {
        let long = "x".repeat(300);
        check_name(&format!("{long}.png"), "image/png", &format!("{}.png", "x".repeat(96)));
        check_name(&format!("{long}.bin"), "image/png", &format!("{}.png", "x".repeat(96)));
        check_name(&format!("{long}.tiles"), "application/x-unknown", &format!("{}.tiles", "x".repeat(94)));
        check_name(&long, "application/x-unknown", &"x".repeat(100));
    }

    #[test]
    fn nothing_else_is_a_path() {
        let hex = "0123456789abcdef0123456789abcdef";
        assert!(format!("b/{hex}/image.png").parse::<FilePath>().is_ok());
        for bad in [
            String::new(),
            "/".to_owned(),
            "..".to_owned(),
            "b".to_owned(),
            "/etc/passwd".to_owned(),
            format!("b/{hex}"),
            format!("b/{hex}/"),
            format!("/b/{hex}/image.png"),
            format!("b/{hex}/image.png/"),
            format!("b//{hex}/image.png"),
            format!("b/{hex}/../image.png"),
            format!("b/{hex}/.."),
            format!("b/{hex}/."),
            format!("b/{hex}/.hidden"),
            format!("b/{hex}/..%2fimage.png"),
            format!("b/{hex}/%2e%2e"),
            format!("b/{hex}/a\\b"),
            format!("b/{hex}/a\0b"),
            format!("b/{hex}/a#1"),
            format!("b/{hex}/a b"),
            format!("b/{hex}/ä.png"),
            format!("c/{hex}/image.png"),
            format!("b/{}/image.png", hex.to_uppercase()),
            format!("b/{}/image.png", &hex[1..]),
            format!("b/{hex}/{}", "x".repeat(101)),
            format!("file:///b/{hex}/image.png"),
        ] {
            assert_eq!(bad.parse::<FilePath>(), Err(ParseFilePathError), "{bad:?}");
        }
    }
}
