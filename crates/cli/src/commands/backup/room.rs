//! Space on the disk, before and while something is written.

use std::io::{self, ErrorKind};
use std::path::Path;

use scumble_api::published::gigabytes;

use crate::failure::Failure;

/// # Errors
/// Fewer bytes are free in a folder than are to come.
pub(super) fn check(folder: &Path, bytes: u64) -> Result<(), Failure> {
    match scumble_files::free_bytes(folder) {
        Ok(Some(free)) if free < bytes => Err(Failure::System(format!(
            "{} has room for {}, and up to {} are to come; make room, or choose another place",
            folder.display(),
            gigabytes(free),
            gigabytes(bytes)
        ))),
        // whoever writes there will see
        _ => Ok(()),
    }
}

/// What it means that something could not be written. Nothing of it stays.
pub(super) fn failed(what: &Path, error: &io::Error) -> Failure {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
    let advice = if full { "; there is no room for it: make some, or choose another place" } else { "" };
    Failure::System(format!("cannot write {}: {error}{advice}. Nothing of it was kept", what.display()))
}
