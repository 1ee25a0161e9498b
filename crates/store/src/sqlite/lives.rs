//! Which processes work on this file and live.
//!
//! A process that is killed leaves its leases behind, and they last for a while. On one machine nobody has to wait for that:
//! each process that works holds a lock on a file of its own, which the system lets go of with the process. Whose lock is
//! free is gone, and so are its leases. Where locks cannot be had, leases end by themselves as everywhere else.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// What is read of a name; they are short.
const NAME_BYTES: u64 = 1024;

/// A name that is still written, and means nothing yet.
const UNFINISHED: &str = "new";

/// The locks beside a database.
pub(super) struct Lives {
    folder: PathBuf,
    mine: Mutex<Option<Life>>,
}

/// A process that lives, for as long as this is there.
struct Life {
    path: PathBuf,
    _locked: File,
}

/// A process that is gone, and the file that told.
pub(super) struct Dead {
    pub(super) process: String,
    path: PathBuf,
    /// Nobody else is to bury it meanwhile.
    _locked: File,
}

impl Lives {
    /// Beside the database file at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        let mut folder = path.as_os_str().to_owned();
        folder.push("-lives");
        Self { folder: folder.into(), mine: Mutex::default() }
    }

    /// From now on this process works under this name.
    ///
    /// # Errors
    /// The folder cannot be written, or its file system knows no locks.
    pub(super) fn begin(&self, process: &str) -> io::Result<()> {
        match self.try_begin(process) {
            // the last of those who ended has taken the folder along
            Err(error) if error.kind() == ErrorKind::NotFound => self.try_begin(process),
            begun => begun,
        }
    }

    fn try_begin(&self, process: &str) -> io::Result<()> {
        private_folder(&self.folder)?;
        let path = self.folder.join(Uuid::new_v4().simple().to_string());
        let unfinished = path.with_extension(UNFINISHED);
        let begun = private_file(&unfinished).and_then(|mut file| {
            file.try_lock()?;
            file.write_all(process.as_bytes())?;
            // whoever finds it under its name finds it locked and whole
            fs::rename(&unfinished, &path)?;
            Ok(Life { path, _locked: file })
        });
        match begun {
            Ok(life) => *self.lock() = Some(life),
            Err(error) => {
                let _ = fs::remove_file(&unfinished);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Those that are gone and not buried.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn dead(&self) -> io::Result<Vec<Dead>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mine = self.lock().as_ref().map(|life| life.path.clone());
        let mut dead = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if mine.as_ref() != Some(&path) && path.extension().is_none() {
                dead.extend(Dead::find(path)?);
            }
        }
        Ok(dead)
    }

    /// This process works no more, and leaves nothing behind.
    pub(super) fn end(&self) {
        if let Some(Life { path, .. }) = self.lock().take() {
            let _ = fs::remove_file(path);
            // not while others live
            let _ = fs::remove_dir(&self.folder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Life>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dead {
    fn find(path: PathBuf) -> io::Result<Option<Self>> {
        let mut file = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let mut process = String::new();
        (&mut file).take(NAME_BYTES).read_to_string(&mut process)?;
        Ok(Some(Self { process, path, _locked: file }))
    }

    /// Its leases are ended: nobody has to know of it any more.
    pub(super) fn bury(self) {
        let _ = fs::remove_file(self.path);
    }
}

/// A folder for its owner only, unless it is there.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A new file for its owner only, whatever new files are for by default.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
