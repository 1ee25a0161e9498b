//! Sweeping up: parts of files that were never completed, and what crashes left of files under way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::parts::PARTS;
use crate::writer::ASIDE;
use crate::{Error, Files, Result};

impl Files {
    /// Deletes what nobody can want any more: parts, and files under way, that were last written before `before`.
    /// Files that have their path are left alone. Returns how many things went.
    ///
    /// A bucket keeps abandoned pieces of its own out of sight: give it a rule that ends incomplete uploads.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`], [`Error::Disk`]; the rest is swept the next time.
    pub async fn sweep(&self, before: SystemTime) -> Result<u64> {
        match self.place.folder.clone() {
            // on disk, a file under way has a name that `list` does not show
            Some(folder) => {
                let swept = tokio::task::spawn_blocking(move || sweep_folders(&folder, before)).await;
                swept.map_err(io::Error::other).and_then(|swept| swept).map_err(Error::Disk)
            }
            None => self.sweep_objects(before).await.map_err(Error::Storage),
        }
    }

    async fn sweep_objects(&self, before: SystemTime) -> object_store::Result<u64> {
        let mut swept = 0;
        for folder in [PARTS, ASIDE] {
            let listed: Vec<_> = self.place.store.list(Some(&folder.into())).try_collect().await?;
            for object in listed.iter().filter(|object| SystemTime::from(object.last_modified) < before) {
                match self.place.store.delete(&object.location).await {
                    Ok(()) => swept += 1,
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(swept)
    }
}

fn sweep_folders(root: &Path, before: SystemTime) -> io::Result<u64> {
    let mut swept = sweep_folder(&root.join(ASIDE), before)?;
    for upload in entries(&root.join(PARTS))? {
        // one that was just made is about to get its first part
        let is_old =
            std::fs::symlink_metadata(&upload).and_then(|meta| meta.modified()).is_ok_and(|time| time < before);
        swept += sweep_folder(&upload, before)?;
        if is_old {
            // refused while there is something in it, which is what we want
            let _ = std::fs::remove_dir(&upload);
        }
    }
    Ok(swept)
}

fn sweep_folder(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut swept = 0;
    for file in entries(folder)? {
        let removed = match std::fs::symlink_metadata(&file) {
            Ok(meta) if meta.is_file() && meta.modified()? < before => std::fs::remove_file(&file),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => swept += 1,
            // somebody else was faster
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
