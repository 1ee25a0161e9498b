//! What a power cut took, written anew.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::SPOOL;
use super::segment::{Abandoned, Record};
use super::settle::flush_files;
use crate::{FilePath, disk};

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
    let mut whole = Vec::new();
    for (path, record) in &records {
        match record {
            // its name may have outlived it
            _ if deleted.contains(path) => disk::unwrite(root, path),
            Record::Stored(bytes) if fs::read(root.join(path.as_str())).is_ok_and(|there| there == *bytes) => {
                whole.push(path);
            }
            Record::Stored(bytes) => disk::put(root, path, bytes)?,
            Record::Deleted => {}
        }
    }
    flush_files(root, whole)?;
    abandoned.into_iter().try_for_each(Abandoned::delete)
}
