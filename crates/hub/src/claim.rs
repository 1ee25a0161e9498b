//! Who fetches a model or removes it has that model alone: one that removes files under another's hands leaves gigabytes that
//! nobody finds.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::cache::is_still;
use crate::error::{Error, Result};

/// Held for as long as a model is fetched or removed. It ends with the process, however that ends.
#[derive(Debug)]
#[must_use = "what is dropped at once keeps nobody away"]
pub struct Claim {
    _file: File,
    path: PathBuf,
}

impl Claim {
    /// Takes this file for that model. It does not wait: who removes what has just been fetched did not mean that.
    pub(crate) fn new(path: PathBuf, model: &str) -> Result<Self> {
        loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file.map_err(|error| Error::unwritable(path.parent().unwrap_or(&path), error))?;
            match file.try_lock() {
                Ok(()) if is_still(&file, &path) => return Ok(Self { _file: file, path }),
                // who held it took the name away, and somebody else may have made another by now
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::Claimed { model: model.to_owned() }),
                Err(TryLockError::Error(error)) => return Err(Error::disk("lock", &path, error)),
            }
        }
    }

    /// Takes this file and waits for it where somebody has it: only for what takes a moment.
    pub(crate) fn soon(path: PathBuf) -> Result<Self> {
        loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file.map_err(|error| Error::unwritable(path.parent().unwrap_or(&path), error))?;
            file.lock().map_err(|error| Error::disk("lock", &path, error))?;
            if is_still(&file, &path) {
                return Ok(Self { _file: file, path });
            }
        }
    }

    /// Where the claim of a model is, beside its folder.
    pub(crate) fn path(home: &Path, model: &str) -> PathBuf {
        home.join(format!("{model}.lock"))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // where an open file is told from another of its name, it need not stay
        #[cfg(unix)]
        let _ = std::fs::remove_file(&self.path);
    }
}
