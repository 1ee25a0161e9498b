//! Names of repositories, and of what is in them. All of them come from elsewhere, and some become names of files here.

use std::fmt;

/// A repository of models: `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId {
    owner: String,
    name: String,
}

impl RepoId {
    /// Reads `owner/name`; nothing else is one.
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        let fine = is_name(owner) && is_name(name);
        fine.then(|| Self { owner: owner.to_owned(), name: name.to_owned() })
    }

    /// What its folder in the cache is called.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// As the hub allows names of owners and repositories.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=96).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-']) && !text.contains("..")
}

/// Whether a path leads to something inside, whatever it starts from.
pub fn is_inside(path: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', '\n', '\r']);
    path.len() <= 1024 && path.split('/').all(part)
}

/// Whether a file may be written under this path: inside, and in names that every system takes for names alone.
pub(crate) fn is_writable(path: &str) -> bool {
    let part = |part: &str| part.len() <= 255 && !part.contains(|c: char| c.is_control() || c == ':');
    is_inside(path) && path.split('/').all(part)
}

/// Whether this is the full name of a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether this is a digest in lower case, as git and the hub write them.
pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// As URLs have it; slashes stay where they part folders.
pub fn encoded(text: &str, slashes: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slashes && byte == b'/');
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_owner_and_name_are_a_repository() {
        assert_eq!(RepoId::parse("black-forest-labs/FLUX.1-dev").map(|id| id.folder()).as_deref(), {
            Some("models--black-forest-labs--FLUX.1-dev")
        });
        for bad in ["", "a", "a/b/c", "../b", "a/..", "a/.b", "-a/b", "a b/c", "a/b\n", "/a/b", "a\\b/c", "a/b--/../c"]
        {
            assert_eq!(RepoId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn no_file_is_written_outside() {
        for good in ["a.safetensors", "transformer/config.json", "a/b/c d.json", "größe.txt"] {
            assert!(is_writable(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/a", "../a", "a/../b", "a/./b", "a//b", "a/", "..", "a\\..\\b", "C:/a", "a:b", "a\u{7}", "a\nb",
            "a\0", &long,
        ] {
            assert!(!is_writable(bad), "{bad:?}");
        }
    }
}
