//! Small files whose bytes somebody else keeps at first.
//!
//! Before anybody may be told of a file it has to be flushed, and its name, and its folder. Whoever has a log that is flushed
//! anyway, as a database has, can keep the bytes of a small file there. It is read from there until a [`Settler`] has put
//! it into its folder.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, fs, io};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use crate::files::{FileBody, check_range};
use crate::path::FOLDER;
use crate::spool::{SMALL_BYTES, System, write_anew};
use crate::{Error, FilePath, Files, Result, StoredFile, content_type_of};

/// Whoever keeps the bytes of files that are not in their folder yet.
pub trait Fresh: Send + Sync {
    /// The bytes of this file. `None` when they are not here: it is in its folder, or there is no such file.
    fn bytes<'a>(&'a self, path: &'a FilePath) -> BoxFuture<'a, Result<Option<Bytes>, FreshError>>;
}

/// Why the bytes cannot be read now.
pub type FreshError = Box<dyn std::error::Error + Send + Sync>;

/// Puts fresh files into their folder. Cheap to clone.
#[derive(Clone)]
pub struct Settler(Arc<Settling>);

struct Settling {
    root: PathBuf,
    system: Mutex<Option<System>>,
    is_stuck: Arc<AtomicBool>,
}

/// Where the small files of a folder are at first.
#[derive(Clone)]
pub(crate) struct Keeper {
    fresh: Arc<dyn Fresh>,
    /// They do not get into their folder: there should not be more of them.
    is_stuck: Arc<AtomicBool>,
}

impl Files {
    /// These files, with somebody who keeps the bytes of the small ones at first. Without effect where files are in no
    /// folder: they are never fresh there.
    #[must_use]
    pub fn with_fresh(mut self, fresh: Arc<dyn Fresh>) -> Self {
        self.keeper = self.place.folder.is_some().then(|| Keeper { fresh, is_stuck: Arc::default() });
        self
    }

    /// The file that these bytes are to become, under a path nobody can guess, if they are few enough to be fresh: then
    /// whoever calls gives them to whoever keeps such files, in place of [`put`](Files::put).
    ///
    /// # Errors
    ///
    /// [`Error::NoRandomness`].
    pub fn fresh(&self, bytes: &[u8], content_type: &str, name: &str) -> Result<Option<StoredFile>> {
        let is_open = self.keeper.as_ref().is_some_and(|keeper| !keeper.is_stuck.load(Ordering::Acquire));
        if !is_open || bytes.len() > SMALL_BYTES {
            return Ok(None);
        }
        let path = FilePath::fresh(name, content_type)?;
        Ok(Some(StoredFile { path, bytes: bytes.len() as u64, content_type: content_type.to_owned() }))
    }

    /// What puts fresh files into their folder; `None` where none are ever fresh.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] when the folder cannot be made.
    pub fn settler(&self) -> Result<Option<Settler>> {
        let (Some(root), Some(keeper)) = (self.place.folder.clone(), &self.keeper) else { return Ok(None) };
        // a folder of its own may be on a disk of its own
        let files = root.join(FOLDER);
        fs::create_dir_all(&files).map_err(Error::Disk)?;
        let system = Mutex::new(System::under(&files));
        Ok(Some(Settler(Arc::new(Settling { root, system, is_stuck: keeper.is_stuck.clone() }))))
    }

    /// The bytes of a fresh file.
    pub(crate) async fn fresh_bytes(&self, path: &FilePath) -> Result<Option<Bytes>> {
        let Some(Keeper { fresh, .. }) = &self.keeper else { return Ok(None) };
        let failed = |source| object_store::Error::Generic { store: "fresh files", source };
        fresh.bytes(path).await.map_err(|error| Error::about(path, failed(error)))
    }
}

/// A range of these bytes as the body of a file.
pub(crate) fn body_of(path: &FilePath, bytes: &Bytes, range: Option<Range<u64>>) -> Result<FileBody> {
    let size = bytes.len() as u64;
    if let Some(range) = &range {
        check_range(path, range, size)?;
    }
    let range = range.map_or(0..size, |range| range.start..range.end.min(size));
    let part = bytes.slice(range.start as usize..range.end as usize);
    let stream = stream::iter((!part.is_empty()).then_some(Ok(part))).boxed();
    Ok(FileBody { stream, range, size, content_type: content_type_of(path.name()) })
}

impl Settler {
    /// Puts files into their folder durably, whatever is there.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`]. What is in the folder then nobody knows; it is to be done again. Until that goes well no more files
    /// are fresh.
    pub async fn settle(&self, files: Vec<(FilePath, Vec<u8>)>) -> Result<()> {
        let Self(settling) = self.clone();
        let write = move || {
            let mut system = settling.system.lock().unwrap_or_else(PoisonError::into_inner);
            write_anew(&settling.root, files.iter().map(|(path, bytes)| (path, bytes.as_slice())), system.as_mut())
        };
        let settled = tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten();
        self.0.is_stuck.store(settled.is_err(), Ordering::Release);
        settled.map_err(Error::Disk)
    }
}

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settler({})", self.0.root.display())
    }
}
