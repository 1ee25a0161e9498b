//! What is in a folder of files, one thing after the other: there may be more of them than fit into memory.

use std::fs::{self, DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::FilePath;
use crate::parts::PARTS;
use crate::path::FOLDER;
use crate::spool::SPOOL;
use crate::writer::ASIDE;

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: FoundKind,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, where the file system tells.
    pub written: Option<SystemTime>,
}

/// What can be in a folder of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A file that has its path.
    File(FilePath),
    /// A part of an upload, or a file under way.
    UnderWay,
    /// A segment of the spool: what is in it is in its own file too.
    Spool,
    /// Nothing that this program has put there.
    Stray(PathBuf),
}

/// Looks at everything in `folder` as it is found, in no order. What goes meanwhile is passed over. Waits for the disk.
///
/// # Errors
///
/// A folder cannot be read; or what `each` says.
pub fn walk<E: From<io::Error>>(folder: &Path, each: &mut dyn FnMut(Found) -> Result<(), E>) -> Result<(), E> {
    for entry in entries(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        match name.to_str() {
            Some(FOLDER) => files(&entry.path(), each)?,
            Some(ASIDE | PARTS) => below(&entry.path(), &|_| FoundKind::UnderWay, each)?,
            Some(SPOOL) => below(&entry.path(), &|_| FoundKind::Spool, each)?,
            _ => strays(&entry, each)?,
        }
    }
    Ok(())
}

/// The folder of those that have their path: a folder for each, with the file in it.
fn files<E: From<io::Error>>(folder: &Path, each: &mut dyn FnMut(Found) -> Result<(), E>) -> Result<(), E> {
    for entry in entries(folder)? {
        let entry = entry?;
        let random = entry.file_name();
        let kind = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            let inside = path.parent() == Some(&*entry.path());
            let path_of = || format!("{FOLDER}/{}/{}", random.to_str()?, name.to_str()?).parse().ok();
            path_of().filter(|_| inside).map_or_else(|| FoundKind::Stray(path.to_owned()), FoundKind::File)
        };
        match about(&entry)? {
            Some(meta) if meta.is_dir() => below(&entry.path(), &kind, each)?,
            _ => strays(&entry, each)?,
        }
    }
    Ok(())
}

/// Everything in a folder, however deep. Links are not followed.
fn below<E: From<io::Error>>(
    folder: &Path,
    kind: &dyn Fn(&Path) -> FoundKind,
    each: &mut dyn FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    for entry in entries(folder)? {
        let entry = entry?;
        match about(&entry)? {
            Some(meta) if meta.is_dir() => below(&entry.path(), kind, each)?,
            Some(meta) if meta.is_file() => each(found(kind(&entry.path()), &meta))?,
            Some(meta) => each(found(FoundKind::Stray(entry.path()), &meta))?,
            None => {}
        }
    }
    Ok(())
}

fn strays<E: From<io::Error>>(entry: &DirEntry, each: &mut dyn FnMut(Found) -> Result<(), E>) -> Result<(), E> {
    let stray = |path: &Path| FoundKind::Stray(path.to_owned());
    match about(entry)? {
        Some(meta) if meta.is_dir() => below(&entry.path(), &stray, each),
        Some(meta) => each(found(stray(&entry.path()), &meta)),
        None => Ok(()),
    }
}

fn found(kind: FoundKind, meta: &Metadata) -> Found {
    Found { kind, bytes: meta.len(), written: meta.modified().ok() }
}

/// None where it has gone meanwhile.
fn about(entry: &DirEntry) -> io::Result<Option<Metadata>> {
    match entry.metadata() {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing where the folder is not there (any more).
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_found_and_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let hex = "0123456789abcdef0123456789abcdef";
        let write = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, "four").expect("a file");
        };
        let stray = ["note.txt", "b/note.txt", "b/nothex/image.png", "other/deep/x"].map(str::to_owned);
        let inner = format!("b/{hex}/deeper/image.png");
        for path in [&format!("b/{hex}/image.png"), &format!("parts/{hex}/1.{hex}"), "aside/x", "spool/y", &inner] {
            write(path);
        }
        stray.iter().for_each(|path| write(path));
        let mut all = Vec::new();
        walk::<io::Error>(folder.path(), &mut |found| {
            assert_eq!(found.bytes, 4);
            all.push(found.kind);
            Ok(())
        })
        .expect("all is read");
        let number = |kind: &FoundKind| all.iter().filter(|one| *one == kind).count();
        assert_eq!(number(&FoundKind::File(format!("b/{hex}/image.png").parse().expect("a path"))), 1);
        assert_eq!((number(&FoundKind::UnderWay), number(&FoundKind::Spool)), (2, 1));
        for path in stray.into_iter().chain([inner]) {
            assert_eq!(number(&FoundKind::Stray(folder.path().join(&path))), 1, "{path} in {all:?}");
        }
        assert_eq!(all.len(), 9);
        // a folder that is not there holds nothing
        walk::<io::Error>(&folder.path().join("none"), &mut |found| panic!("{found:?}")).expect("nothing");
    }
}
