//! What SQLite's errors mean to whoever has to act on them.

use std::path::Path;

use rusqlite::ErrorCode;

use super::whose::denied;
use crate::{Cause, Error};

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let cause = Cause::new(error);
        match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(cause),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(cause),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(cause),
            Some(ErrorCode::DiskFull) => Self::Full(cause),
            _ => Self::Database(cause),
        }
    }
}

/// An error while opening: what could not be opened is told with its path.
pub(super) fn about(path: &Path, error: Error) -> Error {
    match error {
        Error::Database(cause) => {
            denied(path).unwrap_or_else(|| Error::Open { path: path.to_owned(), reason: cause.to_string() })
        }
        other => other,
    }
}
