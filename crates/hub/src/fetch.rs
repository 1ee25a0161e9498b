//! Several files of a repository: what is here of them, whether there is room for the rest, and all of it into the cache.

use std::io;
use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use crate::cache::{Cache, beside};
use crate::client::{Client, Listing, Remote};
use crate::download::{Download, is_whole};
use crate::error::{Error, Result};
use crate::names::{RepoId, is_hex};
use crate::pieces::Part;
use crate::watch::Watch;

/// Bytes that stay free on the disk, whatever is fetched.
const FLOOR: u64 = 256 * 1024 * 1024;
/// Requests for small things at once.
const HEADS: usize = 8;
/// Files at once: their pieces share the connections.
const FILES: usize = 4;

/// Fetches from one hub into one cache.
#[derive(Clone, Debug)]
pub struct Fetching {
    /// Whom to ask.
    pub client: Client,
    /// Where to.
    pub cache: Cache,
    /// Connections at once.
    pub connections: usize,
    /// How many bytes are free where a folder is; `None` where the system does not say.
    pub free: fn(&Path) -> io::Result<Option<u64>>,
}

/// Files of one repository that are wanted, and what the hub says of each.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Of which.
    pub listing: Listing,
    /// The files.
    pub files: Vec<Remote>,
}

impl Planned {
    /// Bytes of all of them.
    ///
    /// # Errors
    /// The hub names more of them than there can be.
    pub fn bytes(&self) -> Result<u64> {
        total(self.files.iter().map(|file| Ok(file.size)))
    }
}

impl Fetching {
    /// Asks about each of these files.
    ///
    /// # Errors
    /// One of them may not be read, or the hub does not answer.
    pub async fn plan(&self, listing: &Listing, paths: &[String], watch: &dyn Watch) -> Result<Planned> {
        let Some((first, rest)) = paths.split_first() else {
            return Ok(Planned { listing: listing.clone(), files: Vec::new() });
        };
        // who may not read one may read none: asked once, not for each of them
        let first = self.client.remote(listing, first, watch).await?;
        let rest = stream::iter(rest.iter().map(|path| self.client.remote(listing, path, watch)));
        let rest: Vec<Remote> = rest.buffered(HEADS).try_collect().await?;
        Ok(Planned { listing: listing.clone(), files: std::iter::once(first).chain(rest).collect() })
    }

    /// What is here of a repository, for those who ask nobody.
    ///
    /// # Errors
    /// Nothing is.
    pub fn listing_here(&self, repository: &RepoId, revision: &str) -> Result<Listing> {
        let commit = self
            .cache
            .commit(repository, revision)
            .ok_or_else(|| Error::Offline { repository: repository.clone(), revision: revision.to_owned() })?;
        Ok(Listing {
            files: self.cache.files(repository, &commit),
            repository: repository.clone(),
            revision: revision.to_owned(),
            commit,
            is_gated: false,
            licence: None,
        })
    }

    /// The same of files that are all here.
    ///
    /// # Errors
    /// One is not, or not as the cache keeps files.
    pub fn plan_here(&self, listing: &Listing, paths: &[String]) -> Result<Planned> {
        let here = |path: &String| {
            let file = self.cache.snapshot(&listing.repository, &listing.commit).join(path);
            let blob = std::fs::canonicalize(&file).map_err(|e| Error::disk("find", &file, e))?;
            let etag = blob.file_name().and_then(|name| name.to_str()).filter(|name| is_hex(name));
            let wrong = || Error::nonsense(format!("{}/{path}", listing.repository), "the cache has no link for it");
            let size = std::fs::metadata(&blob).map_err(|e| Error::disk("find", &blob, e))?.len();
            let location = self.client.hub.url().clone();
            Ok(Remote { path: path.clone(), etag: etag.ok_or_else(wrong)?.to_owned(), size, location })
        };
        Ok(Planned { listing: listing.clone(), files: paths.iter().map(here).collect::<Result<_>>()? })
    }

    /// How many bytes of this are still to come.
    ///
    /// # Errors
    /// The hub names more of them than there can be.
    pub fn missing(&self, planned: &Planned) -> Result<u64> {
        let missing = |file: &Remote| {
            let blob = self.cache.blob(&planned.listing.repository, &file.etag);
            if is_whole(&blob, file.size) { 0 } else { file.size - Part::here(&blob, file.size).min(file.size) }
        };
        total(distinct(planned).map(|file| Ok(missing(file))))
    }

    /// Makes sure that so many bytes find room.
    ///
    /// # Errors
    /// They do not, or nothing may be written there at all.
    pub fn check_room(&self, needed: u64) -> Result<()> {
        let folder = existing(self.cache.root());
        // first of all: of a folder that nobody may write, the system may say that nothing is free
        if needed > 0 {
            check_writable(&folder).map_err(|error| Error::unwritable(self.cache.root(), error))?;
        }
        let free = (self.free)(&folder).map_err(|e| Error::disk("look at the disk of", &folder, e))?;
        match free {
            Some(free) if needed > 0 && free.saturating_sub(FLOOR) < needed => {
                Err(Error::Space { needed, free, folder: self.cache.root().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Brings all of it into the cache. Files get their names in a commit when all of them are here.
    ///
    /// # Errors
    /// Something did not come. What did stays, and the next call goes on with it.
    pub async fn fetch(&self, planned: &Planned, watch: &dyn Watch) -> Result<()> {
        let Planned { listing, files } = planned;
        let connections = self.connections.max(1);
        let room = Semaphore::new(connections);
        let download = Download { client: &self.client, cache: &self.cache, listing, room: &room, connections, watch };
        let fetched = stream::iter(distinct(planned).map(|file| download.fetch(file)));
        fetched.buffer_unordered(FILES).try_collect::<()>().await?;
        for file in files {
            self.cache.link(&listing.repository, &listing.commit, &file.path, &file.etag)?;
        }
        Ok(())
    }

    /// Notes what the revision is now that was asked for: all that is wanted of it is here.
    ///
    /// # Errors
    /// The disk.
    pub fn settle(&self, planned: &Planned) -> Result<()> {
        let Listing { repository, revision, commit, .. } = &planned.listing;
        self.cache.refer(repository, revision, commit)
    }
}

/// All of these bytes together: lengths come from a hub, which may say anything.
///
/// # Errors
/// One of those given; a sum that no disk holds.
pub fn total(parts: impl IntoIterator<Item = Result<u64>>) -> Result<u64> {
    parts.into_iter().try_fold(0_u64, |sum, part| {
        let too_many = || Error::nonsense("how long files are", "together they are longer than any disk");
        sum.checked_add(part?).ok_or_else(too_many)
    })
}

/// Whether a file can be made in a folder.
fn check_writable(folder: &Path) -> io::Result<()> {
    let path = beside(&folder.join("scumble"));
    std::fs::File::create_new(&path)?;
    std::fs::remove_file(path)
}

/// Files with different bytes; of those with the same, one.
fn distinct(planned: &Planned) -> impl Iterator<Item = &Remote> {
    let files = &planned.files;
    files
        .iter()
        .enumerate()
        .filter(|(at, file)| files[..*at].iter().all(|known| known.etag != file.etag))
        .map(|(_, f)| f)
}

/// The nearest folder above that is there.
fn existing(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|folder| folder.is_dir());
    there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
