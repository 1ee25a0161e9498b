//! One file: its bytes in pieces over several connections, held against its checksum, then given its name.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::stream::{self, StreamExt, TryStreamExt};
use scumble_fetch::{HeaderName, HeaderValue, Heard, Method, Url};
use sha2::Digest;
use tokio::sync::Semaphore;

use crate::cache::{Cache, make_parent};
use crate::client::{Client, Listing, Remote, Wanted};
use crate::error::{Error, Result};
use crate::patience::{LEAST, Tries, Trouble};
use crate::pieces::Part;
use crate::watch::Watch;

/// Most bytes of one request. A long one costs few connections; a cut one goes on where it was.
const RUN: u64 = 256 * 1024 * 1024;
/// Bytes that are gathered before they are written.
const BUFFER: usize = 1024 * 1024;

/// What fetching one file takes.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cache: &'a Cache,
    pub(crate) listing: &'a Listing,
    /// Connections that may be open, of all files together.
    pub(crate) room: &'a Semaphore,
    /// How many these are.
    pub(crate) connections: usize,
    pub(crate) watch: &'a dyn Watch,
}

/// Where the bytes are for now, and what is known of their host.
struct Source<'a> {
    remote: &'a Remote,
    part: Arc<Part>,
    location: Mutex<Url>,
    /// The version that all pieces have to be of.
    tag: Mutex<Option<String>>,
    /// Whether the host gives out parts of files.
    in_parts: AtomicBool,
}

impl Download<'_> {
    /// Brings the file into the cache, if it is not there.
    pub(crate) async fn fetch(&self, remote: &Remote) -> Result<()> {
        let id = &self.listing.repository;
        let blob = self.cache.blob(id, &remote.etag);
        if is_whole(&blob, remote.size) {
            return Ok(());
        }
        let _lock = self.cache.lock(id, &remote.etag, self.watch).await?;
        // who held the lock may have brought it
        if is_whole(&blob, remote.size) {
            self.watch.come(remote.size.saturating_sub(Part::here(&blob, remote.size)));
            return Ok(());
        }
        make_parent(&blob)?;
        // a checksum that is wrong once may be a piece of an earlier run; wrong twice, it is what the host has
        for is_last in [false, true] {
            if self.attempt(remote, &blob).await? {
                return Ok(());
            }
            self.watch.lost(remote.size);
            if !is_last {
                let again = "the checksum is wrong; it is fetched once more from its beginning";
                self.watch.say(&format!("{}: {again}", remote.path));
            }
        }
        Err(Error::Checksum { repository: id.clone(), file: remote.path.clone() })
    }

    /// Whether the file came, whole and right. One that is not right is gone.
    async fn attempt(&self, remote: &Remote, blob: &Path) -> Result<bool> {
        let part = Arc::new(Part::open(blob, remote.size)?);
        let source = Source {
            remote,
            part: part.clone(),
            location: Mutex::new(remote.location.clone()),
            tag: Mutex::default(),
            in_parts: AtomicBool::new(true),
        };
        match self.pieces(&source).await {
            Ok(()) => {}
            // a host that gives out whole files only, or has another file by now: from the beginning, in one go
            Err(Trouble::Passing { said, .. }) => {
                self.watch.say(&format!("{}: {said}; it is fetched in one go", remote.path));
                self.watch
                    .lost(remote.size - part.missing(u64::MAX).iter().map(|run| run.end - run.start).sum::<u64>());
                part.forget()?;
                source.in_parts.store(false, Ordering::Relaxed);
                *source.tag.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.whole(&source).await?;
            }
            Err(Trouble::Final(error)) => return Err(error),
        }
        drop(source);
        self.watch.checking(&remote.path);
        let (digest, size, checked) = (remote.etag.clone(), remote.size, part.clone());
        let is_right = tokio::task::spawn_blocking(move || is_right(&checked.file, &digest, size)).await;
        let is_right = is_right.unwrap_or_else(|e| Err(e.into())).map_err(|e| Error::disk("read", blob, e))?;
        let Some(part) = Arc::into_inner(part) else {
            return Err(Error::nonsense(&remote.path, "it is still written"));
        };
        if is_right {
            part.keep(blob).map(|()| true)
        } else {
            part.discard();
            Ok(false)
        }
    }

    /// All pieces that are missing. What is passing here is passing for pieces alone.
    async fn pieces(&self, source: &Source<'_>) -> Result<(), Trouble> {
        // every connection has a share, also of what is not so large
        let runs = source.part.missing((source.remote.size / self.connections as u64).min(RUN));
        let fetched = stream::iter(runs.into_iter().map(|run| self.run(source, run)));
        fetched.buffer_unordered(self.connections).try_collect().await
    }

    /// One run of pieces, over as many requests as it takes.
    async fn run(&self, source: &Source<'_>, run: Range<u64>) -> Result<(), Trouble> {
        let mut at = run.start;
        let mut tries = Tries::new(self.client.patience, &source.remote.path);
        while at < run.end {
            let before = at;
            let ended = self.request(source, &mut at, run.end).await;
            if at > before {
                tries.progressed();
            }
            match ended {
                Ok(()) if at >= run.end => break,
                Ok(()) => {
                    let early = Trouble::passing("the connection was closed too early");
                    tries.again(early, self.watch).await?;
                }
                Err(End::NoParts) => return Err(Trouble::passing("its host gives out whole files only")),
                Err(End::Changed) => return Err(Trouble::passing("its host has another file by now")),
                Err(End::Moved(trouble)) => {
                    tries.again(trouble, self.watch).await?;
                    self.find_again(source).await?;
                }
                Err(End::Trouble(trouble)) => tries.again(trouble, self.watch).await?,
            }
        }
        Ok(())
    }

    /// The whole file in one go; a cut one begins anew.
    async fn whole(&self, source: &Source<'_>) -> Result<()> {
        let mut tries = Tries::new(self.client.patience, &source.remote.path);
        loop {
            let mut at = 0;
            let ended = self.request(source, &mut at, source.remote.size).await;
            let trouble = match ended {
                Ok(()) if at == source.remote.size => return Ok(()),
                Ok(()) => Trouble::passing("the connection was closed too early"),
                Err(End::Trouble(trouble) | End::Moved(trouble)) => trouble,
                Err(End::NoParts | End::Changed) => Trouble::passing("its host has another file by now"),
            };
            self.watch.lost(at);
            source.part.forget()?;
            tries.again(trouble, self.watch).await?;
            self.find_again(source).await?;
        }
    }

    /// Asks the hub once more where the bytes are: addresses of hosts behind it end after a while.
    async fn find_again(&self, source: &Source<'_>) -> Result<()> {
        let found = self.client.remote(self.listing, &source.remote.path, self.watch).await?;
        if found.etag != source.remote.etag || found.size != source.remote.size {
            return Err(Error::nonsense(&source.remote.path, "the hub has another file by now; try again"));
        }
        *source.location.lock().unwrap_or_else(PoisonError::into_inner) = found.location;
        Ok(())
    }

    /// One request for the bytes from `at` on, and what comes of it. `at` moves with what was written.
    async fn request(&self, source: &Source<'_>, at: &mut u64, end: u64) -> Result<(), End> {
        let Ok(_permit) = self.room.acquire().await else { return Err(End::NoParts) };
        let mut url = source.location.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_parts = source.in_parts.load(Ordering::Relaxed);
        let range = HeaderValue::from_str(&format!("bytes={at}-{}", end - 1));
        let range = range.map_err(|e| Error::nonsense(&source.remote.path, e.to_string()))?;
        let headers = [(HeaderName::from_static("range"), range)];
        let headers = if in_parts { &headers[..] } else { &[] };
        for _ in 0..3 {
            let heard = self.client.ask(Method::GET, &url, headers, source.remote.size).await?;
            if let Some(next) = self.client.fetcher.redirected(&url, &heard).map_err(Trouble::from)? {
                url = next;
                continue;
            }
            return self.take(source, heard, &url, at, end).await;
        }
        Err(Trouble::passing("it redirects again and again").into())
    }

    /// Writes what an answer holds.
    async fn take(&self, source: &Source<'_>, heard: Heard, url: &Url, at: &mut u64, end: u64) -> Result<(), End> {
        let size = source.remote.size;
        match heard.status {
            206 => {
                let (start, last, whole) = heard.header("content-range").and_then(content_range).ok_or(End::NoParts)?;
                if whole.is_some_and(|whole| whole != size) {
                    return Err(End::Changed);
                }
                if start != *at || last >= end {
                    return Err(End::NoParts);
                }
            }
            200 if *at == 0 && end == size => {}
            200 => return Err(End::NoParts),
            416 => return Err(End::Changed),
            // an address that a hub gave out is good for a while only
            400 | 401 | 403 | 404 | 410 if !self.is_hub(url) => {
                return Err(End::Moved(Trouble::passing(format!(
                    "{} answered {}",
                    url.host_str().unwrap_or_default(),
                    heard.status
                ))));
            }
            _ => {
                let wanted = Wanted::File(&source.remote.path);
                return Err(self.client.refusal(url, &heard, &self.listing.repository, wanted).into());
            }
        }
        source.is_of_one_version(&heard)?;
        self.write(source, heard, at, end).await
    }

    fn is_hub(&self, url: &Url) -> bool {
        url.as_str().starts_with(self.client.hub.address())
    }

    async fn write(&self, source: &Source<'_>, mut heard: Heard, at: &mut u64, end: u64) -> Result<(), End> {
        let mut buffer = Vec::with_capacity(BUFFER);
        let run = *at;
        let (mut since, mut come) = (Instant::now(), 0);
        loop {
            let piece = heard.next().await;
            let piece = match piece {
                Ok(piece) => piece,
                // what came before the cut stays
                Err(error) => {
                    self.flush(source, &mut buffer, at, run).await?;
                    return Err(Trouble::from(error).into());
                }
            };
            let Some(piece) = piece else { return self.flush(source, &mut buffer, at, run).await };
            if *at + (buffer.len() + piece.len()) as u64 > end {
                return Err(Error::nonsense(&source.remote.path, "its host sends more than it was asked for").into());
            }
            buffer.extend_from_slice(&piece);
            if buffer.len() >= BUFFER {
                self.flush(source, &mut buffer, at, run).await?;
            }
            come += piece.len() as u64;
            if since.elapsed() >= self.client.patience.silence {
                if come < LEAST {
                    self.flush(source, &mut buffer, at, run).await?;
                    return Err(Trouble::passing("its host hardly sends anything").into());
                }
                (since, come) = (Instant::now(), 0);
            }
        }
    }

    /// Writes what was gathered, away from who waits for the network.
    async fn flush(&self, source: &Source<'_>, buffer: &mut Vec<u8>, at: &mut u64, run: u64) -> Result<(), End> {
        if buffer.is_empty() {
            return Ok(());
        }
        let (bytes, part, place) = (std::mem::replace(buffer, Vec::with_capacity(BUFFER)), source.part.clone(), *at);
        let length = bytes.len() as u64;
        let written = tokio::task::spawn_blocking(move || {
            part.write(place, &bytes)?;
            part.note(run..place + bytes.len() as u64)
        });
        written.await.map_err(|e| Error::nonsense(&source.remote.path, e.to_string()))??;
        *at += length;
        self.watch.come(length);
        Ok(())
    }
}

impl Source<'_> {
    /// Whether an answer is of the version that the others are of, as far as its host tells.
    fn is_of_one_version(&self, heard: &Heard) -> Result<(), End> {
        let Some(tag) = heard.header("etag").filter(|tag| !tag.starts_with("W/")) else { return Ok(()) };
        let mut known = self.tag.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(known) if known != tag => Err(End::Changed),
            Some(_) => Ok(()),
            None => {
                *known = Some(tag.to_owned());
                Ok(())
            }
        }
    }
}

/// How a request ended that did not bring all it was for.
enum End {
    /// Its host gives out whole files, or other parts than were asked for.
    NoParts,
    /// Its host has another file.
    Changed,
    /// Its address is no good any more.
    Moved(Trouble),
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Trouble(Trouble::Final(error))
    }
}

/// Whether a blob is there in its full length. What it holds was held against its checksum when it got its name.
pub(crate) fn is_whole(blob: &Path, size: u64) -> bool {
    std::fs::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == size)
}

/// First and last byte of a part, and the length of the whole.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (part, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = part.split_once('-')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    let (start, last) = (start.parse().ok()?, last.parse().ok()?);
    (start <= last).then_some((start, last, whole))
}

/// Whether a file has this checksum: SHA-256, or SHA-1 as git computes it, behind a word and the length.
fn is_right(mut file: &File, digest: &str, size: u64) -> io::Result<bool> {
    io::Seek::rewind(&mut file)?;
    let mut buffer = vec![0; BUFFER];
    let found = if digest.len() == 64 {
        digest_of(file, sha2::Sha256::new(), &mut buffer)?
    } else {
        let mut sha1 = sha1::Sha1::new();
        sha1.update(format!("blob {size}\0"));
        digest_of(file, sha1, &mut buffer)?
    };
    Ok(found == digest)
}

fn digest_of<D: Digest>(mut file: &File, mut digest: D, buffer: &mut [u8]) -> io::Result<String> {
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        digest.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_say_which_they_are() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in ["", "bytes */10", "bytes 9-5/10", "items 0-9/10", "bytes 0-9", "bytes -1-9/10"] {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn checksums_are_those_of_git_and_sha256() {
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, b"hello\n").expect("written");
        let right = |digest: &str| is_right(&file, digest, 6).expect("read");
        // `git hash-object` and `sha256sum` of the same
        assert!(right("ce013625030ba8dba906f756967f9e9ca394464a"));
        assert!(right("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"));
        assert!(!right("0000000000000000000000000000000000000000"));
    }
}
