//! What can go wrong with files. Each message says what is wrong and what to do about it.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use crate::FilePath;
use crate::said::{is_silence, said};

/// The result of everything that touches files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A file could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place is not one this program can keep files in.
    #[error("cannot keep files in {location:?}: {reason}; use a folder, file:///folder, s3://bucket/prefix or memory:")]
    Location {
        /// The place as it was given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such file (any more).
    #[error("there is no file {0}; it was deleted, or never complete")]
    NotFound(FilePath),
    /// The range lies outside the file, or is empty.
    #[error("the range lies outside the file {path}, which has {size} bytes")]
    BadRange {
        /// The file.
        path: FilePath,
        /// Its size in bytes.
        size: u64,
    },
    /// No space is left. Nothing was stored.
    #[error("no space is left for files ({}); free some and try again", said(.0))]
    Full(object_store::Error),
    /// The place can be read but not written. Nothing was stored.
    #[error("files cannot be written ({}); check the permissions of the folder, and the mount", said(.0))]
    ReadOnly(object_store::Error),
    /// The bucket does not let this program do it. Nothing was stored.
    #[error("the bucket refuses this program: {}", said(.0))]
    Refused(object_store::Error),
    /// The file is longer than it may be. Nothing was stored.
    #[error("the file is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// How long it may be.
        limit: u64,
    },
    /// The folder could not be looked after.
    #[error("the folder of files cannot be cleaned up: {0}")]
    Disk(io::Error),
    /// Anything else the disk or the object store said.
    #[error("the place that holds the files failed: {}", said(.0))]
    Storage(object_store::Error),
    /// The system gave no random bytes for a path.
    #[error("the system gave no random bytes ({reason}); without them a file would get a path that can be guessed")]
    NoRandomness {
        /// What the system said.
        reason: String,
    },
}

/// Why a bucket cannot be used, for whoever gives advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such bucket.
    Absent,
    /// Its service does not answer.
    Silent,
    /// No key was given, and the machine has no role of its own.
    Keyless,
    /// Its service refuses this program.
    Refused,
    /// Anything else.
    Other,
}

/// Where Amazon's machines learn of their role.
const ROLES: &str = "http://169.254.169.254/";

impl Error {
    /// What kind of trouble with a bucket this is.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Refused(_) => Trouble::Refused,
            Self::Storage(object_store::Error::NotFound { .. }) => Trouble::Absent,
            Self::Storage(error) if said(error).contains(ROLES) => Trouble::Keyless,
            Self::Storage(error) if is_silence(error) => Trouble::Silent,
            _ => Trouble::Other,
        }
    }

    /// Whether the same may go well later: the place is away, or full.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Storage(_))
    }

    /// What an error means when something was to be stored at `path`: what is not there then is the place.
    pub(crate) fn storing(path: &FilePath, error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Storage(error),
            other => Self::about(path, other),
        }
    }

    /// What an error of the object store means for `path`.
    pub(crate) fn about(path: &FilePath, error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound(path.clone()),
            // of a disk it is the system's error that says so
            object_store::Error::PermissionDenied { .. } if io_kind(&error).is_none() => Self::Refused(error),
            object_store::Error::PermissionDenied { .. } => Self::ReadOnly(error),
            other => match io_kind(&other) {
                Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Self::Full(other),
                Some(ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => Self::ReadOnly(other),
                _ => Self::Storage(other),
            },
        }
    }
}

/// The kind of the system's error somewhere below `error`.
fn io_kind(error: &object_store::Error) -> Option<ErrorKind> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}
