//! From what a caller wrote to bytes.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use scumble_api::{FILE_SCHEME, Problem};
use scumble_fetch::{Limits, Source, Url};
use scumble_files::{FileBody, FilePath};
use scumble_store::{Decision, FileRecord};

use super::{Inputs, Shelf, with_text};

/// How long a data URI, or a file of our own, waits for room.
const ROOM: Duration = Duration::from_secs(5);

/// There are no bytes.
pub(crate) enum Unread {
    /// For this reason.
    Fetch(scumble_fetch::Error),
    /// The file is here, and not for this caller.
    Forbidden,
    /// The file is here, and cannot be read.
    Ours,
    /// The time for all pictures of the request is over.
    TooSlow {
        /// So much there was.
        all: Duration,
    },
    /// The owner's own file, and what the system says of it.
    Path(String),
    /// There is no room for it now.
    Busy,
}

impl Inputs {
    /// The bytes behind a URL, a data URI or the URL of a file of this server.
    pub(crate) async fn read(&self, text: &str) -> Result<Bytes, Unread> {
        if let Some(path) = kept_path(text) {
            let refused = || Unread::Fetch(scumble_fetch::Error::Malformed { reason: "its file is gone".to_owned() });
            return self.own(path).await?.ok_or_else(refused);
        }
        let max = self.config.max_bytes;
        if let Some(path) = self.local_path(text) {
            return self.read_path(path, max).await;
        }
        match Source::parse(text).map_err(Unread::Fetch)? {
            Source::Data(data) => {
                // three bytes in four letters
                let share = self.memory.take(text.len() as u64, ROOM).await.map_err(|_| Unread::Busy)?;
                Ok(share.hold(data.decode(max).map_err(Unread::Fetch)?))
            }
            Source::Url(url) => match self.own_of_url(url).await? {
                Some(bytes) => Ok(bytes),
                None => {
                    // where there are several, the time of all of them is over first, and that is what is said
                    let limits = Limits { bytes: max, time: 2 * self.config.time };
                    match self.fetcher.get(url, limits).await {
                        Ok(file) => Ok(file.bytes),
                        Err(scumble_fetch::Error::Busy) => Err(Unread::Busy),
                        Err(error) => Err(Unread::Fetch(error)),
                    }
                }
            },
        }
    }

    /// Whether reading it needs no network: a data URI, or a file of this server.
    pub(super) async fn is_near(&self, text: &str) -> bool {
        if kept_path(text).is_some() || self.local_path(text).is_some() {
            return true;
        }
        match Source::parse(text) {
            Ok(Source::Url(url)) => {
                matches!(self.own_of_url(url).await, Ok(Some(_)) | Err(Unread::Forbidden | Unread::Busy))
            }
            // what is no address at all is near enough to be refused
            Ok(Source::Data(_)) | Err(_) => true,
        }
    }

    /// A file that is stored here, read without HTTP: the server's own address is often a private one. Nobody can guess
    /// the path of a file, so a URL with the path of one of ours means that file, whatever host the caller knows us by.
    async fn own_of_url(&self, url: &str) -> Result<Option<Bytes>, Unread> {
        match own_path(url) {
            Some(path) => self.own(path).await,
            None => Ok(None),
        }
    }

    /// The same, piece by piece, with the path that it has here.
    pub(crate) async fn own_body(&self, url: &str) -> Result<Option<(String, FileBody)>, Unread> {
        let Some(path) = own_path(url) else { return Ok(None) };
        let Some((shelf, _)) = self.own_row(&path).await? else { return Ok(None) };
        let body = shelf.files.get(&path, None).await.map_err(|e| unreadable(&path, &e))?;
        Ok(Some((path.to_string(), body)))
    }

    /// The row of the file at this path, unless there is none; for those who may read it.
    async fn own_row(&self, path: &FilePath) -> Result<Option<(&Shelf, FileRecord)>, Unread> {
        let Some(shelf) = &self.shelf else { return Ok(None) };
        let row = shelf.store.file(path.as_str()).await.map_err(|e| unreadable(path, &e))?;
        let Some(row) = row.filter(|row| row.expires_ms.is_none_or(|at| at > shelf.clock.now_ms())) else {
            return Ok(None);
        };
        if self.may_read(&row) { Ok(Some((shelf, row))) } else { Err(Unread::Forbidden) }
    }

    /// The file at this path, unless there is none; for those who may read it.
    async fn own(&self, path: FilePath) -> Result<Option<Bytes>, Unread> {
        let Some((shelf, row)) = self.own_row(&path).await? else { return Ok(None) };
        let max = self.config.max_bytes;
        if u64::try_from(row.bytes).unwrap_or(0) > max {
            return Err(Unread::Fetch(scumble_fetch::Error::TooLarge { max }));
        }
        let bytes = u64::try_from(row.bytes).unwrap_or(0);
        let share = self.memory.take(bytes, ROOM).await.map_err(|_| Unread::Busy)?;
        let file = shelf.files.get(&path, None).await.map_err(|e| unreadable(&path, &e))?;
        Ok(Some(share.hold(file.bytes().await.map_err(|e| unreadable(&path, &e))?)))
    }

    /// The path that text means, where the owner's own may be read.
    fn local_path<'a>(&self, text: &'a str) -> Option<&'a Path> {
        const FILE: &str = "file://";
        let is_local = self.shelf.is_none();
        match text.strip_prefix(FILE) {
            Some(path) => is_local.then(|| Path::new(path)),
            None => (is_local && matches!(Source::parse(text), Err(scumble_fetch::Error::Malformed { .. })))
                .then(|| Path::new(text)),
        }
    }

    /// A file that the owner names.
    async fn read_path(&self, path: &Path, max: u64) -> Result<Bytes, Unread> {
        if path.as_os_str().is_empty() {
            return Err(Unread::Path("it is empty; give a path, a URL or a data URI, or leave it out".to_owned()));
        }
        let unread = |error: std::io::Error| {
            Unread::Path(match error.kind() {
                ErrorKind::NotFound => format!("there is no file {}", path.display()),
                ErrorKind::PermissionDenied => format!("{} may not be read by this user", path.display()),
                _ => format!("{}: {error}", path.display()),
            })
        };
        let size = tokio::fs::metadata(path).await.map_err(unread)?;
        if !size.is_file() {
            return Err(Unread::Path(format!("{} is not a file", path.display())));
        }
        if size.len() > max {
            return Err(Unread::Fetch(scumble_fetch::Error::TooLarge { max }));
        }
        let share = self.memory.take(size.len(), ROOM).await.map_err(|_| Unread::Busy)?;
        Ok(share.hold(tokio::fs::read(path).await.map_err(unread)?.into()))
    }

    fn may_read(&self, row: &FileRecord) -> bool {
        let named = row.access.rules.iter().find(|rule| Some(&rule.user) == self.reader.as_ref());
        let decision = named.map_or(row.access.default, |rule| rule.decision);
        row.owner == self.reader || decision == Decision::Allow
    }
}

/// The path of a picture that came inside an input, and was put into a file when the job was accepted.
fn kept_path(text: &str) -> Option<FilePath> {
    text.strip_prefix(FILE_SCHEME)?.parse().ok()
}

/// The path of a file in a URL of ours: `…/files/b/<hex>/<name>`.
fn own_path(url: &str) -> Option<FilePath> {
    const FILES: &str = "/files/";
    let url = Url::parse(url).ok()?;
    let at = url.path().find("/files/b/")?;
    url.path()[at + FILES.len()..].parse().ok()
}

fn unreadable(path: &FilePath, error: &dyn std::fmt::Display) -> Unread {
    tracing::error!(%path, %error, "a file that a caller names cannot be read");
    Unread::Ours
}

impl Unread {
    pub(super) fn problem(&self, loc: &[&str], text: &str) -> Problem {
        let problem = match self {
            Self::Fetch(error @ scumble_fetch::Error::TooLarge { max }) => {
                Problem::new(loc, "file_too_large", capitalized(&error.to_string())).with("max_size", *max)
            }
            other => Problem::new(loc, "file_download_error", format!("Failed to read the file: {}", other.reason())),
        };
        with_text(problem, text)
    }

    /// For people.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Fetch(scumble_fetch::Error::Malformed { reason }) => format!(
                "this is not a URL ({reason}); give a URL that begins with https:// or http://, a data URI, or the URL of a \
                 file that was uploaded here"
            ),
            Self::Fetch(error @ scumble_fetch::Error::Private { .. }) => {
                format!("{error}: allow_private of [fetch] in its settings (see /docs/settings#fetch)")
            }
            Self::Fetch(error) => error.to_string(),
            Self::Forbidden => "it is not for the key of this request; use the key that it was stored with".to_owned(),
            Self::Ours => "the server cannot reach its files now; try again later".to_owned(),
            Self::TooSlow { all } => format!(
                "it was not here in time; all pictures of a request together may take {} s; try faster hosts, or upload \
                 them first",
                all.as_secs_f64()
            ),
            Self::Path(said) => said.clone(),
            Self::Busy => "the memory of this server is taken by other requests; try again in some seconds".to_owned(),
        }
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
