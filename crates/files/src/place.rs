//! The kinds of places that keep files, and what differs between them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::s3::choose_tls;
use crate::spool::{SMALL_BYTES, Spool, recover};
use crate::{FilePath, S3Options, disk};

/// How much of a file is held in memory while it is written, where the place has no wish of its own.
const PIECE: usize = 1024 * 1024;

/// An open place. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// How many bytes are written at once.
    pub(crate) piece: usize,
    /// Whether one object can become another without its bytes being copied. Where not, long files are written under
    /// their own path, which the place shows once they are complete.
    pub(crate) links: bool,
    /// The folder, for files on disk: a crash leaves things there that [`ObjectStore::list`] does not show.
    pub(crate) folder: Option<PathBuf>,
    /// The spool of that folder, once a small file was stored; none where it takes no spool.
    pub(crate) spool: Arc<OnceLock<Option<Spool>>>,
}

impl Place {
    pub(crate) fn open(location: &str, s3: &S3Options) -> Result<Self, String> {
        choose_tls();
        match location.split_once("://") {
            None if location == "memory:" => Ok(Self::memory()),
            None => Self::folder(Path::new(location)),
            Some(("file", folder)) => Self::file_url(folder),
            Some(("s3", bucket)) => Ok(Self {
                store: s3.open(bucket)?,
                // no piece of a bucket's file but the last may be smaller than 5 MiB, and there are 10 000 at most
                piece: 8 * PIECE,
                links: false,
                folder: None,
                spool: Arc::default(),
            }),
            Some((scheme, _)) => Err(format!("{scheme}:// is not supported")),
        }
    }

    fn memory() -> Self {
        Self { store: Arc::new(InMemory::new()), piece: PIECE, links: true, folder: None, spool: Arc::default() }
    }

    fn file_url(folder: &str) -> Result<Self, String> {
        if !folder.starts_with('/') {
            return Err("a file URL has three slashes and an absolute path".to_owned());
        }
        // Decoding would be right for a URL and wrong for whoever put a path behind `file://`; better to ask.
        if folder.contains('%') {
            return Err("a file URL must not be percent-encoded here; write the folder's plain path instead".to_owned());
        }
        Self::folder(Path::new(folder))
    }

    fn folder(folder: &Path) -> Result<Self, String> {
        if folder.as_os_str().is_empty() {
            return Err("the folder has no name".to_owned());
        }
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let disk = LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())?;
        // Without `with_fsync` a put is acknowledged when the file is in the page cache, not on disk.
        let disk = disk.with_fsync(true).with_automatic_cleanup(true);
        let folder = std::fs::canonicalize(folder).map_err(|error| error.to_string())?;
        recover(&folder)
            .map_err(|error| format!("what an earlier process left there cannot be cleaned up: {error}"))?;
        Ok(Self { store: Arc::new(disk), piece: PIECE, links: true, folder: Some(folder), spool: Arc::default() })
    }

    /// Stores a whole file durably in `folder`, by way of the spool if it is small. Waits for the disk.
    pub(crate) fn put_on_disk(&self, folder: &Path, path: &FilePath, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > SMALL_BYTES {
            return disk::put(folder, path, bytes);
        }
        match self.spool.get_or_init(|| open_spool(folder)) {
            Some(spool) if !spool.is_broken() => spool.put(path, bytes),
            _ => disk::put(folder, path, bytes),
        }
    }

    /// The spool, if this file would come back from it after a power cut.
    pub(crate) fn spool_of(&self, path: &FilePath) -> Option<&Spool> {
        self.spool.get()?.as_ref().filter(|spool| spool.remembers(path))
    }
}

fn open_spool(folder: &Path) -> Option<Spool> {
    Spool::open(folder)
        .inspect_err(|error| tracing::warn!(%error, "no spool can be made; small files are flushed one by one"))
        .ok()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}
