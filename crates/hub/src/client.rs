//! What is asked of a hub: what is in a repository, and where one file of it is.

use std::time::Duration;

use scumble_fetch::{Asked, Config, Fetcher, HeaderName, HeaderValue, Heard, Method, Url};
use serde_json::Value;

use crate::address::Hub;
use crate::error::{Error, Result};
use crate::names::{RepoId, encoded, is_commit, is_hex, is_writable};
use crate::patience::{Kind, Patience, Tries, Trouble};
use crate::watch::Watch;

/// The largest list of a repository's files.
const LIST_BYTES: u64 = 16 * 1024 * 1024;
/// Characters of the hub's own words in a message.
const WORDS: usize = 300;
/// How often a hub may send on who asks for a file.
const HOPS: usize = 5;

/// Asks one hub.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) fetcher: Fetcher,
    pub(crate) hub: Hub,
    pub(crate) patience: Patience,
}

/// What is in a repository at one commit.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Whose.
    pub repository: RepoId,
    /// What was asked for: a branch, a tag, a commit.
    pub revision: String,
    /// What that is now.
    pub commit: String,
    /// Paths of all files.
    pub files: Vec<String>,
    /// Whether its publisher wants the licence accepted first.
    pub is_gated: bool,
    /// The licence, in the hub's words.
    pub licence: Option<String>,
}

/// One file of a repository, as the hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its path there.
    pub path: String,
    /// Its checksum, and its name in the cache: SHA-256 of large files, git's SHA-1 of small ones.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Where its bytes are for now.
    pub(crate) location: Url,
}

impl Client {
    /// Asks this hub, this patiently.
    pub fn new(hub: Hub, patience: Patience) -> Self {
        // what the owner named may be anywhere; what the public hub names may not
        let allow_private = !hub.is_public();
        let config = Config { allow_private, idle_timeout: patience.silence, ..Config::default() };
        Self { fetcher: Fetcher::new(config), hub, patience }
    }

    /// The page of a repository, where its licence is.
    pub fn page(&self, repository: &RepoId) -> String {
        format!("{}/{repository}", self.hub.address())
    }

    /// What is in a repository.
    ///
    /// # Errors
    /// There is none, it may not be read, or the hub does not answer.
    pub async fn listing(&self, repository: &RepoId, revision: &str, watch: &dyn Watch) -> Result<Listing> {
        let what = format!("the list of {repository}");
        let url = format!("{}/api/models/{repository}/revision/{}", self.hub.address(), encoded(revision, false));
        let url = parsed(&url, &what)?;
        let mut tries = Tries::new(self.patience, &what);
        loop {
            match self.listed(&url, repository, revision, &what).await {
                Ok(listing) => return Ok(listing),
                Err(trouble) => tries.again(trouble, watch).await?,
            }
        }
    }

    async fn listed(&self, url: &Url, repository: &RepoId, revision: &str, what: &str) -> Result<Listing, Trouble> {
        let mut url = url.clone();
        for _ in 0..HOPS {
            let mut heard = self.ask(Method::GET, &url, &[], LIST_BYTES).await?;
            if let Some(next) = self.fetcher.redirected(&url, &heard)? {
                url = next;
                continue;
            }
            if heard.status != 200 {
                return Err(self.refusal(&url, &heard, repository, Wanted::List(revision)));
            }
            let mut text = Vec::new();
            while let Some(piece) = heard.next().await? {
                text.extend_from_slice(&piece);
            }
            return read_listing(&text, repository, revision).map_err(Trouble::Final);
        }
        Err(Error::nonsense(what, format!("it redirects more than {HOPS} times")).into())
    }

    /// What the hub says of one file at a commit.
    ///
    /// # Errors
    /// It may not be read, is gone, or the hub does not say what it is.
    pub async fn remote(&self, listing: &Listing, path: &str, watch: &dyn Watch) -> Result<Remote> {
        let what = format!("{}/{path}", listing.repository);
        let url =
            format!("{}/{}/resolve/{}/{}", self.hub.address(), listing.repository, listing.commit, encoded(path, true));
        let url = parsed(&url, &what)?;
        let mut tries = Tries::new(self.patience, &what);
        loop {
            match self.described(&url, listing, path, &what).await {
                Ok(remote) => return Ok(remote),
                Err(trouble) => tries.again(trouble, watch).await?,
            }
        }
    }

    async fn described(&self, url: &Url, listing: &Listing, path: &str, what: &str) -> Result<Remote, Trouble> {
        let mut url = url.clone();
        for _ in 0..HOPS {
            let heard = self.ask(Method::HEAD, &url, &[], 0).await?;
            let next = self.fetcher.redirected(&url, &heard)?;
            let names_itself = heard.header("x-linked-etag").is_some();
            let location = match (heard.status, next) {
                // the hub names the file, and sends on to where its bytes are
                (_, Some(next)) if names_itself => next,
                // it is called otherwise by now, or kept elsewhere
                (_, Some(next)) => {
                    url = next;
                    continue;
                }
                (200, None) => url,
                _ => return Err(self.refusal(&url, &heard, &listing.repository, Wanted::File(path))),
            };
            return read_remote(&heard, listing, path, location, what).map_err(Trouble::Final);
        }
        Err(Error::nonsense(what, format!("it redirects more than {HOPS} times")).into())
    }

    /// One request. The token goes to the hub's own host and nowhere else.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        max_bytes: u64,
    ) -> Result<Heard, Trouble> {
        let asked = Asked { method, url, headers, pass: self.hub.pass(), max_bytes };
        self.fetcher.ask(asked).await.map_err(|error| match error {
            scumble_fetch::Error::Unreachable { reason, .. } => Trouble::unreachable(url, &reason),
            other => other.into(),
        })
    }

    /// What a status that is no answer means.
    pub(crate) fn refusal(&self, url: &Url, heard: &Heard, repository: &RepoId, wanted: Wanted<'_>) -> Trouble {
        let host = url.host_str().unwrap_or_default().to_owned();
        let (page, has_token) = (self.page(repository), self.hub.pass().is_some());
        let repository = repository.clone();
        let code = heard.header("x-error-code").unwrap_or_default();
        match (heard.status, code) {
            (429, _) => Trouble::Passing {
                said: format!("{host} asks to wait (429)"),
                after: pause(heard),
                kind: Kind::TooMany { host },
            },
            (408 | 425 | 500..=599, _) => {
                let said = format!("{host} answered {}", heard.status);
                Trouble::Passing { said, after: pause(heard), kind: Kind::Other }
            }
            (_, "GatedRepo") => Error::Gated { repository, page, has_token }.into(),
            (_, "RevisionNotFound") => {
                Error::NoRevision { repository, revision: wanted.revision().unwrap_or_default().to_owned() }.into()
            }
            (_, "EntryNotFound") => Error::NoFile { repository, file: wanted.to_string() }.into(),
            (_, "RepoNotFound") | (404, _) => Error::Unknown { repository, page, has_token }.into(),
            (401 | 403, _) => Error::Gated { repository, page, has_token }.into(),
            (status, _) => {
                let said =
                    heard.header("x-error-message").map(shown).map_or_else(String::new, |said| format!(": {said}"));
                Error::Refused { host, status, what: wanted.to_string(), said }.into()
            }
        }
    }
}

/// What a refused request was for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    List(&'a str),
    File(&'a str),
}

impl Wanted<'_> {
    fn revision(&self) -> Option<&str> {
        match self {
            Self::List(revision) => Some(revision),
            Self::File(_) => None,
        }
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(_) => write!(f, "the list of its files"),
            Self::File(path) => write!(f, "{path}"),
        }
    }
}

/// How long a host wants to be left alone: `Retry-After` in seconds, or what the hub says of its own limits.
fn pause(heard: &Heard) -> Option<Duration> {
    let seconds = |text: &str| text.trim().parse::<u64>().ok().map(Duration::from_secs);
    let limit = |text: &str| text.split(';').find_map(|part| seconds(part.trim().strip_prefix("t=")?));
    heard.header("retry-after").and_then(seconds).or_else(|| heard.header("ratelimit").and_then(limit))
}

/// Words from elsewhere, short enough for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}

fn parsed(url: &str, what: &str) -> Result<Url> {
    Url::parse(url).map_err(|e| Error::nonsense(what, e.to_string()))
}

fn read_listing(text: &[u8], repository: &RepoId, revision: &str) -> Result<Listing> {
    let what = || format!("what is in {repository}");
    let list: Value = serde_json::from_slice(text).map_err(|_| Error::nonsense(what(), "it is not JSON"))?;
    let commit = list["sha"].as_str().filter(|text| is_commit(text));
    let commit = commit.ok_or_else(|| Error::nonsense(what(), "it names no commit"))?;
    let files = list["siblings"].as_array().ok_or_else(|| Error::nonsense(what(), "it lists no files"))?;
    let mut paths = Vec::with_capacity(files.len());
    for file in files {
        let name = file["rfilename"].as_str().ok_or_else(|| Error::nonsense(what(), "a file has no name"))?;
        if !is_writable(name) {
            return Err(Error::Hostile { repository: repository.clone(), name: shown(name) });
        }
        paths.push(name.to_owned());
    }
    Ok(Listing {
        repository: repository.clone(),
        revision: revision.to_owned(),
        commit: commit.to_owned(),
        files: paths,
        is_gated: !matches!(list["gated"], Value::Bool(false) | Value::Null),
        licence: list["cardData"]["license"].as_str().map(shown),
    })
}

fn read_remote(heard: &Heard, listing: &Listing, path: &str, location: Url, what: &str) -> Result<Remote> {
    let nonsense = |reason: &str| Error::nonsense(what, reason);
    if heard.header("x-repo-commit").is_some_and(|commit| commit != listing.commit) {
        return Err(nonsense("it is of another commit than was asked for"));
    }
    let etag = heard.header("x-linked-etag").or_else(|| heard.header("etag"));
    let etag = etag.map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
    let is_digest = |tag: &&str| matches!(tag.len(), 40 | 64) && is_hex(tag);
    let etag = etag.filter(is_digest).ok_or_else(|| nonsense("it says no checksum of the file"))?;
    let size = heard.header("x-linked-size").or_else(|| heard.header("content-length"));
    let size =
        size.and_then(|size| size.parse().ok()).ok_or_else(|| nonsense("it does not say how long the file is"))?;
    Ok(Remote { path: path.to_owned(), etag: etag.to_owned(), size, location })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_public_hub_leads_nobody_into_a_private_network() {
        let patience = Patience::default();
        let private = Url::parse("http://127.0.0.1:9/x").expect("a URL");
        let refused = Client::new(Hub::default(), patience).ask(Method::GET, &private, &[], 1).await;
        let is_private = |error| matches!(error, Trouble::Final(Error::Fetch(scumble_fetch::Error::Private { .. })));
        assert!(refused.is_err_and(is_private));
        // one that the owner named may be there itself; nobody answers here
        let own = Hub::new("http://127.0.0.1:9", None).expect("a hub");
        let refused = Client::new(own, patience).ask(Method::GET, &private, &[], 1).await;
        assert!(matches!(refused, Err(Trouble::Passing { .. })));
    }

    #[test]
    fn a_list_without_a_commit_or_with_names_that_lead_elsewhere_is_none() {
        let id = RepoId::parse("a/b").expect("a name");
        let read = |text: &str| read_listing(text.as_bytes(), &id, "main");
        let commit = "0".repeat(40);
        let fine = format!(r#"{{"sha": "{commit}", "gated": "manual", "siblings": [{{"rfilename": "x/y.json"}}]}}"#);
        let listing = read(&fine).expect("a list");
        assert_eq!((listing.files, listing.is_gated, listing.commit), (vec!["x/y.json".to_owned()], true, commit));
        for bad in ["", "[]", "{}", r#"{"sha": "main", "siblings": []}"#, &fine.replace("siblings", "files")] {
            assert!(matches!(read(bad), Err(Error::Nonsense { .. })), "{bad}");
        }
        assert!(matches!(read(&fine.replace("x/y", "../y")), Err(Error::Hostile { .. })));
    }
}
