//! The path below which a proxy shows this server: `/scumble`, or nothing.
//!
//! It gets into links, redirects, cookies and URLs, so nothing else than a plain path may be in it: `//elsewhere` would
//! lead to another host, and a semicolon would end a cookie's path.

use std::fmt;

/// Longest prefix, in bytes.
const BYTES_MAX: usize = 255;

/// A path in front of all of this server's paths, without a slash at its end; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Reads `/scumble`, `/a/b/`, or `/`, which is none.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let is_segment = |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(letter);
        let path = text.strip_suffix('/').unwrap_or(text);
        let fine = path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
        (fine && text.starts_with('/') && path.len() <= BYTES_MAX).then(|| Self(path.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of a path below it: nothing of the prefix itself.
    pub(crate) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.as_str()).filter(|_| !self.is_empty())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// This one, and below it the other; `None` where that is too long.
    pub(crate) fn joined(&self, inner: &Self) -> Option<Self> {
        let path = format!("{}{}", self.0, inner.0);
        (path.len() <= BYTES_MAX).then_some(Self(path))
    }

    /// The same with a part that a proxy has left in the path. Where the proxy names it all the same it counts once.
    pub(crate) fn then(self, kept: &Self) -> Option<Self> {
        if self.0.ends_with(kept.as_str()) { Some(self) } else { self.joined(kept) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_path() {
        for (text, path) in [("/scumble", "/scumble"), ("/a/b-1_2.3~/", "/a/b-1_2.3~"), ("/", "")] {
            assert_eq!(Prefix::parse(text).map(|p| p.to_string()), Some(path.to_owned()), "{text}");
        }
        let long = format!("/{}", "a".repeat(255));
        for bad in [
            "",
            "scumble",
            "//evil.test",
            "//",
            "/a//b",
            "/a//",
            "/..",
            "/a/../b",
            "/.",
            "/a b",
            "/a;b",
            "/a?b",
            "/a#b",
            "/a\"b",
            "/<b>",
            "/%2f",
            "/a\\b",
            "/ä",
            "/a\r\nx: y",
            "https://evil.test",
            &long,
        ] {
            assert_eq!(Prefix::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_below_a_prefix_or_not() {
        let scumble = Prefix::parse("/scumble").expect("a prefix");
        assert_eq!(scumble.strip("/scumble/queue/a"), Some("/queue/a"));
        assert_eq!(scumble.strip("/scumble"), Some(""));
        assert_eq!(scumble.strip("/scumbled/a"), None);
        assert_eq!(scumble.strip("/queue/a"), None);
        assert_eq!(Prefix::default().strip("/queue/a"), None);
    }

    #[test]
    fn prefixes_are_joined_and_what_is_said_twice_counts_once() {
        let prefix = |text| Prefix::parse(text).expect("a prefix");
        let joined = |outer: Prefix, inner: Prefix| outer.then(&inner).map(|p| p.to_string());
        assert_eq!(joined(prefix("/a"), prefix("/b")), Some("/a/b".into()));
        assert_eq!(joined(prefix("/a"), prefix("/a")), Some("/a".into()));
        assert_eq!(prefix("/a").joined(&prefix("/a")).map(|p| p.to_string()), Some("/a/a".into()));
        assert_eq!(joined(prefix("/a"), Prefix::default()), Some("/a".into()));
        assert_eq!(joined(Prefix::default(), prefix("/b")), Some("/b".into()));
        assert_eq!(joined(prefix(&format!("/{}", "a".repeat(200))), prefix(&format!("/{}", "b".repeat(200)))), None);
    }
}
