//! What a caller wrote where an adapter is named: data, a file of this server, a repository, a URL, a path.

use std::path::{Path, PathBuf};

use scumble_api::FILE_SCHEME;
use scumble_fetch::Url;
use scumble_hub::{Hub, is_inside, is_name};

use super::config::{AdaptersConfig, Paths};
use super::format::Named;
use super::trouble::{At, Trouble};

/// Where an adapter comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It is in the input.
    Data,
    /// A file that came with the input, and was stored with the job.
    Kept,
    /// At the hub.
    Repository(Repository),
    /// Somewhere else.
    Url(Url),
    /// Here.
    Path(PathBuf),
}

/// A repository of the hub, or a file in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    pub(super) owner: String,
    pub(super) name: String,
    /// A branch, a tag, a commit.
    pub(super) revision: String,
    /// A file or a folder in it, where one was named.
    pub(super) inside: Option<String>,
    /// As it was written, where that may as well mean a path.
    pub(super) or_path: Option<String>,
}

/// What is read where no revision is named.
const MAIN: &str = "main";
/// Words between a repository's name and a revision in the hub's URLs.
const PLACES: [&str; 4] = ["resolve", "blob", "tree", "raw"];

impl Source {
    /// Reads what was written; nothing is opened.
    pub(super) fn parse(text: &str, config: &AdaptersConfig) -> Result<Self, Trouble> {
        if super::is_data(text) {
            return Ok(Self::Data);
        }
        if text.starts_with(FILE_SCHEME) {
            return Ok(Self::Kept);
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(Trouble::named(At::Path, "name an adapter"));
        }
        match text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest)) {
            Some((scheme, _)) if scheme == "http" || scheme == "https" => Self::of_url(text, config),
            Some((scheme, path)) if scheme == "file" => Ok(Self::Path(path.into())),
            Some((scheme, _)) => Err(Trouble::named(At::Path, format!("{scheme}: URLs cannot be opened here"))),
            None if is_path(text, config) => Ok(Self::Path(text.into())),
            None => Repository::parse(text).map(Self::Repository).ok_or_else(|| Trouble::named(At::Path, EXPECTED)),
        }
    }

    fn of_url(text: &str, config: &AdaptersConfig) -> Result<Self, Trouble> {
        // its form alone: a file of this server may have any address, and what is opened is checked when it is
        let url = scumble_fetch::check_target(text, true)?;
        let ours = [config.hub.address(), Hub::PUBLIC];
        let inside = ours.iter().find_map(|hub| url.as_str().strip_prefix(hub)?.strip_prefix('/'));
        // what such a URL means depends on who reads it
        if inside.is_some() && hides(text) {
            let said = "slashes, dots and backslashes of a hub's URLs have to be written as they are, without %";
            return Err(Trouble::named(At::Path, said));
        }
        match inside.and_then(Repository::of_url) {
            Some(repository) => Ok(Self::Repository(repository)),
            None => Ok(Self::Url(url)),
        }
    }
}

const EXPECTED: &str = "this names no adapter; expected owner/name or owner/name/file.safetensors of a Hugging Face \
                        repository, a URL, or a path";

/// Whether text without a scheme is a path. `owner/name` and `owner/name/file` are repositories, unless the owner of this
/// machine has such a file.
fn is_path(text: &str, config: &AdaptersConfig) -> bool {
    let explicit = text.starts_with(['/', '.', '~']) || text.contains('\\');
    let is_file = matches!(Named::of(text), Named::As(_)) && text.matches('/').count() < 2;
    explicit || is_file || (config.paths == Paths::Any && Path::new(text).exists())
}

impl Repository {
    /// `owner/name`, `owner/name/folder/file`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let (owner, name, inside) = (parts.next()?, parts.next()?, parts.next());
        let inside = inside.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty());
        let fine = is_name(owner) && is_name(name) && inside.is_none_or(is_inside);
        let (owner, name, revision) = (owner.to_owned(), name.to_owned(), MAIN.to_owned());
        let or_path = Some(text.to_owned());
        fine.then(|| Self { owner, name, revision, inside: inside.map(str::to_owned), or_path })
    }

    /// What follows the hub's address: `owner/name`, `owner/name/resolve/revision/folder/file`.
    fn of_url(path: &str) -> Option<Self> {
        let path = path.split(['?', '#']).next()?;
        let decoded = percent_decoded(path)?;
        let mut parts = path.splitn(5, '/');
        let (owner, name) = (parts.next()?, parts.next()?);
        let Some(place) = parts.next().filter(|place| !place.is_empty()) else {
            return Self::parse(&decoded).map(|this| Self { or_path: None, ..this });
        };
        let revision = percent_decoded(parts.next().filter(|_| PLACES.contains(&place))?)?;
        let inside = parts.next().map(percent_decoded).map_or(Some(None), |inside| inside.map(Some))?;
        let inside = inside.filter(|path| !path.is_empty());
        let fine = is_name(owner) && is_name(name) && is_inside(&revision) && inside.as_deref().is_none_or(is_inside);
        let (owner, name) = (owner.to_owned(), name.to_owned());
        fine.then_some(Self { owner, name, revision, inside, or_path: None })
    }
}

/// Whether a URL's path hides what parts it: `%2F`, `%2E`, `%5C`. The hub's own pages write one kind of revision so.
fn hides(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let is_request = |part: &str| {
        let number = part.strip_prefix("refs%2fpr%2f");
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut parts = path.split('/').filter(|part| !is_request(part));
    parts.any(|part| ["%2f", "%2e", "%5c", "%25"].iter().any(|hidden| part.contains(hidden)))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Source, Trouble> {
        let paths = Paths::Below(vec!["/models".into()]);
        Source::parse(text, &AdaptersConfig { paths, ..AdaptersConfig::default() })
    }

    fn repository(revision: &str, inside: Option<&str>) -> Source {
        Source::Repository(Repository {
            owner: "owner".into(),
            name: "na.me".into(),
            revision: revision.into(),
            inside: inside.map(str::to_owned),
            or_path: None,
        })
    }

    #[test]
    fn repositories_are_named_in_many_ways() {
        for (text, revision, inside) in [
            ("owner/na.me", "main", None),
            (" owner/na.me/ ", "main", None),
            ("owner/na.me/a.safetensors", "main", Some("a.safetensors")),
            ("owner/na.me/sub/a.safetensors", "main", Some("sub/a.safetensors")),
            ("https://huggingface.co/owner/na.me", "main", None),
            ("https://huggingface.co/owner/na.me/tree/v1", "v1", None),
            (
                "https://huggingface.co/owner/na.me/resolve/main/a%20b.safetensors?download=true",
                "main",
                Some("a b.safetensors"),
            ),
            ("https://huggingface.co/owner/na.me/blob/refs%2Fpr%2F1/x/a.bin", "refs/pr/1", Some("x/a.bin")),
        ] {
            let Ok(Source::Repository(found)) = read(text) else { panic!("{text}: {:?}", read(text)) };
            assert_eq!(found.or_path.is_none(), text.contains("://"), "{text}");
            assert_eq!(
                Source::Repository(Repository { or_path: None, ..found }),
                repository(revision, inside),
                "{text}"
            );
        }
    }

    #[test]
    fn paths_and_urls_are_told_from_repositories() {
        for path in ["a.safetensors", "dir/a.safetensors", "/models/a", "./a/b/c.bin", "../x", "~/x", "C:\\a"] {
            assert_eq!(read(path), Ok(Source::Path(path.into())), "{path}");
        }
        assert_eq!(read("file:///models/a.safetensors"), Ok(Source::Path("/models/a.safetensors".into())));
        for url in [
            "https://far.example/a.safetensors",
            "https://huggingface.co/datasets/a/b/c",
            "https://huggingface.co.evil.example/owner/name",
            "http://127.0.0.1:8787/files/b/00/a.safetensors",
        ] {
            assert!(matches!(read(url), Ok(Source::Url(_))), "{url}: {:?}", read(url));
        }
        assert_eq!(read("data:application/octet-stream;base64,AA=="), Ok(Source::Data));
        assert_eq!(read("scumble-file:b/00/input"), Ok(Source::Kept));
        for hiding in [
            "https://huggingface.co/owner/na.me/resolve/main/..%2f..%2Fx",
            "https://huggingface.co/owner%2fna.me/resolve/main/x",
            "https://huggingface.co/owner/na.me/resolve/main/%2e%2E/%2e%2e/x/y/resolve/main/z.safetensors",
            "https://huggingface.co/owner/na.me/resolve/main/a%5cb.safetensors",
            "https://huggingface.co/owner/na.me/resolve/main/a%252fb.safetensors",
            "https://huggingface.co/owner/na.me/resolve/refs%2Fpr%2F1%2f..%2f..%2fmain/b.safetensors",
        ] {
            assert!(read(hiding).is_err(), "{hiding}: {:?}", read(hiding));
        }
        for wrong in ["", "  ", "name", "owner/..", "o/n/../x", "o/n//x", "ftp://a/b", "o w/n", "http://[::1"] {
            assert!(read(wrong).is_err(), "{wrong}: {:?}", read(wrong));
        }
    }
}
