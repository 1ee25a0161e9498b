//! Whether the file that was opened is still the one that others would open.
//!
//! Who deletes or replaces a database under a running program leaves it a file without a name: everything can be written,
//! and nothing of it is there after the next start.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// The files that make up an open database.
pub(super) struct SameFile {
    marked: Vec<(PathBuf, Mark)>,
    /// Whether it is open no more.
    closed: AtomicBool,
}

/// What tells a file from another one under the same name.
#[cfg(unix)]
type Mark = (u64, u64);
#[cfg(not(unix))]
type Mark = ();

impl SameFile {
    /// Of the database at `path`, which is open, and its log, which lies beside the `real` file where `path` is a link.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub(super) fn of(path: &Path, real: &Path) -> std::io::Result<Self> {
        let mut log = real.as_os_str().to_owned();
        log.push("-wal");
        let marked = [path.to_owned(), log.into()].into_iter().map(|path| Ok((path.clone(), mark(&path)?)));
        Ok(Self { marked: marked.collect::<std::io::Result<_>>()?, closed: AtomicBool::default() })
    }

    /// From now on the files are nobody's business.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// # Errors
    /// [`Error::Replaced`].
    pub(super) fn check(&self) -> Result<()> {
        let is_another = |(path, known): &&(PathBuf, Mark)| mark(path).ok().as_ref() != Some(known);
        match self.marked.iter().find(is_another) {
            Some((path, _)) if !self.closed.load(Ordering::Acquire) => Err(Error::Replaced { path: path.clone() }),
            _ => Ok(()),
        }
    }
}

#[cfg(unix)]
fn mark(path: &Path) -> std::io::Result<Mark> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(path)?;
    Ok((about.dev(), about.ino()))
}

#[cfg(not(unix))]
fn mark(path: &Path) -> std::io::Result<Mark> {
    std::fs::metadata(path).map(drop)
}
