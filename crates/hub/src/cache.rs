//! The cache as Hugging Face's own tools keep it, so that they share what is in it.
//!
//! ```text
//! models--OWNER--NAME/refs/main                 the commit that a branch or a tag is
//! models--OWNER--NAME/blobs/ETAG                bytes, under their checksum
//! models--OWNER--NAME/snapshots/COMMIT/PATH     a link to its blob
//! .locks/models--OWNER--NAME/ETAG.lock          held by who writes that blob
//! ```
//!
//! A blob has its name once all of it is there and has the checksum that it is named by. What is on its way has names that no
//! other tool takes for its own: those go on at the end of a file, and ours come in pieces.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::names::{RepoId, is_commit, is_writable};
use crate::watch::Watch;

/// A folder of repositories.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Between two looks at a lock that somebody else holds.
const LOOK: Duration = Duration::from_millis(200);

/// Held by who writes a blob.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Cache {
    /// In this folder, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository.
    pub fn repository(&self, id: &RepoId) -> PathBuf {
        self.root.join(id.folder())
    }

    /// The bytes with this checksum.
    pub fn blob(&self, id: &RepoId, etag: &str) -> PathBuf {
        self.repository(id).join("blobs").join(etag)
    }

    /// The files of a commit.
    pub fn snapshot(&self, id: &RepoId, commit: &str) -> PathBuf {
        self.repository(id).join("snapshots").join(commit)
    }

    /// The commit that a revision was when somebody asked last.
    pub fn commit(&self, id: &RepoId, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return self.snapshot(id, revision).is_dir().then(|| revision.to_owned());
        }
        let path = self.reference(id, revision)?;
        let commit = fs::read_to_string(path).ok()?.trim().to_owned();
        (is_commit(&commit) && self.snapshot(id, &commit).is_dir()).then_some(commit)
    }

    /// Paths of all files that are here of a commit; those whose bytes are gone left out.
    pub fn files(&self, id: &RepoId, commit: &str) -> Vec<String> {
        let root = self.snapshot(id, commit);
        let mut found = Vec::new();
        collect(&root, "", &mut found);
        found.sort();
        found
    }

    fn reference(&self, id: &RepoId, revision: &str) -> Option<PathBuf> {
        is_writable(revision).then(|| self.repository(id).join("refs").join(revision))
    }

    /// Notes what a branch or a tag is now.
    pub(crate) fn refer(&self, id: &RepoId, revision: &str, commit: &str) -> Result<()> {
        let Some(path) = self.reference(id, revision).filter(|_| revision != commit) else { return Ok(()) };
        if fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        make_parent(&path)?;
        let aside = beside(&path);
        fs::write(&aside, commit).map_err(|e| Error::disk("write", &aside, e))?;
        fs::rename(&aside, &path).map_err(|e| Error::disk("write", &path, e))
    }

    /// Gives a blob its place among the files of a commit.
    pub(crate) fn link(&self, id: &RepoId, commit: &str, path: &str, etag: &str) -> Result<()> {
        let link = self.snapshot(id, commit).join(path);
        make_parent(&link)?;
        // from where the link is, up to the repository
        let up = "../".repeat(path.matches('/').count() + 2);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&link).is_ok_and(|known| known == target) {
            return Ok(());
        }
        place(&target, &self.blob(id, etag), &link)
    }

    /// Waits until nobody else writes this blob.
    pub(crate) async fn lock(&self, id: &RepoId, etag: &str, watch: &dyn Watch) -> Result<Lock> {
        let path = self.root.join(".locks").join(id.folder()).join(format!("{etag}.lock"));
        make_parent(&path)?;
        let mut said = false;
        loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file.map_err(|e| Error::disk("open", &path, e))?;
            match file.try_lock() {
                // who held it before may have taken it away
                Ok(()) if is_still(&file, &path) => return Ok(Lock { _file: file }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        watch.say(&format!("another program fetches a file of {id}; waiting for it"));
                        said = true;
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Err(TryLockError::Error(error)) => return Err(Error::disk("lock", &path, error)),
            }
        }
    }
}

/// Whether an open file is the one that has this name.
#[cfg(unix)]
pub(crate) fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |one: &fs::Metadata, other: &fs::Metadata| one.ino() == other.ino() && one.dev() == other.dev();
    matches!((file.metadata(), fs::metadata(path)), (Ok(one), Ok(other)) if same(&one, &other))
}

#[cfg(not(unix))]
pub(crate) fn is_still(_: &File, _: &Path) -> bool {
    true
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        // links are followed to see whether their bytes are there; folders are the cache's own
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &format!("{path}/"), found),
            Ok(_) if entry.path().is_file() => found.push(path),
            _ => {}
        }
    }
}

/// Makes the folder that a path is in.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|e| Error::disk("make the folder", folder, e))
}

/// A name beside this one that nobody else takes.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.{}-{next}", std::process::id()))
}

/// Puts a link at a place, over whatever link was there: at once, or not at all.
pub(crate) fn place(target: &Path, file: &Path, link: &Path) -> Result<()> {
    let aside = beside(link);
    let _ = fs::remove_file(&aside);
    symlink(target, file, &aside).map_err(|e| Error::disk("link", &aside, e))?;
    fs::rename(&aside, link).map_err(|e| {
        let _ = fs::remove_file(&aside);
        Error::disk("link", link, e)
    })
}

#[cfg(unix)]
fn symlink(target: &Path, _: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a right of their own here, which a second name for the same file does not.
#[cfg(not(unix))]
fn symlink(_: &Path, file: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(file, link)
}
