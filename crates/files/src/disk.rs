//! A whole file into a folder, with as few flushes as it takes.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::FilePath;
use crate::path::FOLDER;
use crate::writer::ASIDE;

/// Stores a file durably under a path that nobody else knows yet. It is written aside, gets its path when it is whole,
/// and only then everything is flushed: a file system that keeps a journal writes file and folders with the first flush
/// and has nothing left for the others. A crash before that leaves what nobody was told of.
pub(crate) fn put(root: &Path, path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let (aside, target) = (root.join(ASIDE).join(path.random()), root.join(path.as_str()));
    let stored = write(&aside, bytes).and_then(|file| publish(root, &aside, &target, &file));
    if stored.is_err() {
        // nothing is left of what failed, if the disk lets us
        let _ = (fs::remove_file(&aside), fs::remove_file(&target));
        let _ = target.parent().map(fs::remove_dir);
    }
    stored
}

fn write(aside: &Path, bytes: &[u8]) -> io::Result<File> {
    let create = || File::options().write(true).create_new(true).open(aside);
    let mut file = match create() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            aside.parent().map_or(Ok(()), fs::create_dir_all)?;
            create()?
        }
        created => created?,
    };
    file.write_all(bytes)?;
    Ok(file)
}

fn publish(root: &Path, aside: &Path, target: &Path, file: &File) -> io::Result<()> {
    let (all, folder) = (root.join(FOLDER), target.parent().unwrap_or(root));
    let is_first = match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            true
        }
        made => made.map(|()| false)?,
    };
    fs::rename(aside, target)?;
    file.sync_all()?;
    flush_folder(folder)?;
    flush_folder(&all)?;
    if is_first { flush_folder(root) } else { Ok(()) }
}

/// The names in a folder. Where folders cannot be flushed, the system does it by itself.
fn flush_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
