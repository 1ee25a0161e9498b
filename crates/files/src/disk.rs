//! Whole files in a folder, under paths that nobody else knows yet.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::FilePath;
use crate::path::{FOLDER, random_hex};
use crate::writer::ASIDE;

/// Stores a file durably, with as few flushes as it takes. It is written aside, gets its path when it is whole, and only
/// then everything is flushed: a file system that keeps a journal writes file and folders with the first flush and has
/// nothing left for the others. A crash before that leaves what nobody was told of.
pub(crate) fn put(root: &Path, path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let stored = Aside::write(root, path, bytes).and_then(|aside| {
        aside.publish()?;
        aside.flush()?;
        flush_names(root, &aside.target)
    });
    if stored.is_err() {
        unwrite(root, path);
    }
    stored
}

/// Writes a file and leaves it to the system when it gets to the disk.
pub(crate) fn write(root: &Path, path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    create(&root.join(path.as_str()), bytes).map(drop)
}

/// A file that is written aside, to get its path later. What never gets it goes with this value.
pub(crate) struct Aside {
    aside: PathBuf,
    target: PathBuf,
    file: File,
}

impl Aside {
    /// Writes it; others may do the same at the same time.
    pub(crate) fn write(root: &Path, path: &FilePath, bytes: &[u8]) -> io::Result<Self> {
        let aside = root.join(ASIDE).join(random_hex().map_err(io::Error::other)?);
        let file = create(&aside, bytes).inspect_err(|_| _ = fs::remove_file(&aside))?;
        Ok(Self { aside, target: root.join(path.as_str()), file })
    }

    /// Its bytes.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives it its path, whatever is there.
    pub(crate) fn publish(&self) -> io::Result<()> {
        make_folder(self.target.parent().unwrap_or(&self.target))?;
        fs::rename(&self.aside, &self.target)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // not there once it has its path
        let _ = fs::remove_file(&self.aside);
    }
}

/// Removes a file and its folder, if the disk lets us.
pub(crate) fn unwrite(root: &Path, path: &FilePath) {
    let target = root.join(path.as_str());
    let _ = fs::remove_file(&target);
    let _ = target.parent().map(fs::remove_dir);
}

/// The names in a folder. Where folders cannot be flushed, the system does it by itself.
pub(crate) fn flush_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A new file with these bytes; its folder is made where it is missing.
fn create(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let open = || File::options().write(true).create_new(true).open(path);
    let mut file = match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_folder(path.parent().unwrap_or(path))?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(bytes)?;
    Ok(file)
}

/// One call where only the last folder is missing, which is the rule.
fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn flush_names(root: &Path, target: &Path) -> io::Result<()> {
    flush_folder(target.parent().unwrap_or(root))?;
    flush_folder(&root.join(FOLDER))?;
    // where this was the first file, the folder of all is new as well; else there is nothing to flush
    flush_folder(root)
}

/// How much space is left on the file system of a folder, where that is known.
///
/// # Errors
///
/// What the system says of the folder.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> io::Result<Option<u64>> {
    let system = rustix::fs::statvfs(folder)?;
    Ok(Some(system.f_bavail.saturating_mul(system.f_frsize)))
}

/// Not known here.
#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// A folder for its owner only, unless it is there.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
