//! What a power cut took, written anew.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::SPOOL;
use super::segment::{Abandoned, Record};
use super::settle::flush_all;
use super::system::{MANY, System};
use crate::FilePath;
use crate::disk::{self, Aside};
use crate::path::FOLDER;

/// Sees to the files that processes which are gone had only in their spool. The spools of other processes that live are
/// left alone.
///
/// # Errors
/// The disk is full or failing. What was not seen to is left for the next time.
pub(crate) fn recover(root: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(SPOOL)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut abandoned = Vec::new();
    for entry in entries {
        abandoned.extend(Abandoned::take(entry?.path())?);
    }
    let records: Vec<(FilePath, Record<'_>)> = abandoned.iter().flat_map(Abandoned::records).collect();
    let is_deleted = |(path, record): &(FilePath, Record<'_>)| (*record == Record::Deleted).then(|| path.clone());
    let deleted: HashSet<FilePath> = records.iter().filter_map(is_deleted).collect();
    let mut stored = Vec::new();
    for (path, record) in &records {
        match record {
            // its name may have outlived it
            _ if deleted.contains(path) => disk::unwrite(root, path),
            Record::Stored(bytes) => stored.push((path, *bytes)),
            Record::Deleted => {}
        }
    }
    write_anew(root, stored, System::under(&root.join(FOLDER)).as_mut())?;
    abandoned.into_iter().try_for_each(Abandoned::delete)
}

/// Writes files anew and brings them to the disk, bytes before names. Also those that are there: what can be read may never
/// have been written, if the disk has failed before. Only where there is no room what can be read has to do.
pub(crate) fn write_anew<'a>(
    root: &Path,
    files: impl IntoIterator<Item = (&'a FilePath, &'a [u8])>,
    mut system: Option<&mut System>,
) -> io::Result<()> {
    let (mut paths, mut written) = (Vec::new(), Vec::new());
    for (path, bytes) in files {
        match Aside::write(root, path, bytes) {
            Err(error) if error.kind() == ErrorKind::StorageFull && is_there(root, path, bytes) => {}
            aside => written.push(aside?),
        }
        paths.push(path);
    }
    if written.len() < MANY || !system.as_mut().is_some_and(|system| system.flushed()) {
        written.iter().try_for_each(Aside::flush)?;
    }
    written.iter().try_for_each(Aside::publish)?;
    flush_all(root, &paths, system)
}

fn is_there(root: &Path, path: &FilePath, bytes: &[u8]) -> bool {
    fs::read(root.join(path.as_str())).is_ok_and(|there| there == bytes)
}
