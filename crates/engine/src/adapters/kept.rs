//! An adapter that stays loaded for the next call.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::AdapterFiles;
use crate::error::{Error, Result};

/// The one that was used last.
pub(crate) struct Kept<T> {
    slot: Mutex<Option<(Identity, Arc<T>)>>,
}

/// Which files something was loaded from: their paths, lengths and times.
pub(crate) type Identity = Vec<(PathBuf, u64, Option<SystemTime>)>;

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
            let file = std::fs::metadata(path);
            let file = file.map_err(|e| Error::Unreadable { path: path.clone(), reason: e.to_string() })?;
            Ok((path.clone(), file.len(), file.modified().ok()))
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
        let identity = |name: &str| vec![(PathBuf::from(name), 1, None)];
        let never = || -> Result<u8> { Err(Error::Cancelled) };
        assert_eq!(*kept.get(identity("a"), || Ok(1))?, 1);
        assert_eq!(*kept.get(identity("a"), never)?, 1);
        assert_eq!(*kept.get(identity("b"), || Ok(2))?, 2);
        assert_eq!(*kept.get(identity("a"), || Ok(3))?, 3, "the first one is gone");
        assert!(kept.get(identity("c"), never).is_err());
        assert_eq!(*kept.get(identity("a"), || Ok(4))?, 4, "and so is what was there before a failure");
        Ok(())
    }
}
