//! An adapter that stays loaded for the next call.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::AdapterFiles;
use crate::error::{Error, Result};

/// The one that was used last.
pub(crate) struct Kept<T> {
    slot: Mutex<Option<(Identity, Arc<T>)>>,
}

/// Which files something was loaded from.
pub(crate) type Identity = Vec<FileIdentity>;

/// What tells a file from another one at the same place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// Where the system knows that: device, number, and when anything of it was last changed, which nobody can set back.
    system: Option<[i128; 4]>,
}

impl FileIdentity {
    fn of(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::metadata(path)?;
        let (length, modified, system) = (file.len(), file.modified().ok(), system(&file));
        Ok(Self { path: path.to_owned(), length, modified, system })
    }
}

#[cfg(unix)]
fn system(file: &Metadata) -> Option<[i128; 4]> {
    use std::os::unix::fs::MetadataExt;
    Some([file.dev().into(), file.ino().into(), file.ctime().into(), file.ctime_nsec().into()])
}

#[cfg(not(unix))]
fn system(_: &Metadata) -> Option<[i128; 4]> {
    None
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { slot: Mutex::default() }
    }
}

impl<T> Kept<T> {
    /// What is loaded from these files, or will be now. Another one that was kept goes first, so that there is never room
    /// needed for two; calls that need the same one at the same time wait for each other rather than load it twice.
    pub(crate) fn get(&self, identity: Identity, load: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, adapter)) = slot.as_ref()
            && *kept == identity
        {
            return Ok(adapter.clone());
        }
        *slot = None;
        let adapter = Arc::new(load()?);
        *slot = Some((identity, adapter.clone()));
        Ok(adapter)
    }
}

impl AdapterFiles {
    /// Which files these are at present.
    pub(crate) fn identity(&self) -> Result<Identity> {
        let files = self.weights.iter().chain(&self.config).chain(&self.preprocessor);
        let identity = files.map(|path| {
            FileIdentity::of(path).map_err(|e| Error::Unreadable { path: path.clone(), reason: e.to_string() })
        });
        identity.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_stays_and_a_failure_leaves_nothing() -> Result<()> {
        let kept = Kept::<u8>::default();
        let identity = |name: &str| vec![FileIdentity { path: name.into(), length: 1, modified: None, system: None }];
        let never = || -> Result<u8> { Err(Error::Cancelled) };
        assert_eq!(*kept.get(identity("a"), || Ok(1))?, 1);
        assert_eq!(*kept.get(identity("a"), never)?, 1);
        assert_eq!(*kept.get(identity("b"), || Ok(2))?, 2);
        assert_eq!(*kept.get(identity("a"), || Ok(3))?, 3, "the first one is gone");
        assert!(kept.get(identity("c"), never).is_err());
        assert_eq!(*kept.get(identity("a"), || Ok(4))?, 4, "and so is what was there before a failure");
        Ok(())
    }

    /// Of the same length and time as the one that was there before.
    #[cfg(unix)]
    #[test]
    #[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    fn another_file_in_the_place_of_one_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("a"), folder.path().join("b"));
        let time = SystemTime::UNIX_EPOCH;
        for (path, text) in [(&path, "one"), (&new, "two")] {
            std::fs::write(path, text).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let files = AdapterFiles { weights: vec![path.clone()], ..AdapterFiles::default() };
        let before = files.identity().unwrap();
        assert_eq!(before, files.identity().unwrap());
        std::fs::rename(&new, &path).unwrap();
        assert_ne!(before, files.identity().unwrap());
    }
}
