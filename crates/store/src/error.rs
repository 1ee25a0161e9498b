//! What can go wrong. Each message says what is wrong and what to do about it; callers that must decide match on the
//! variant. Errors are cheap to clone because one failed commit answers many waiting writers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::JobId;

/// The result of everything that touches the database.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A database did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database cannot be opened or made.
    #[error("cannot open the database {}: {reason}; check that its folder exists and that this user may write there", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The database is there, and this user is not let at it.
    #[error(
        "this user may not open the database file {}: {} {owner}, with mode {mode:o}; run the command as that user, or have \
         root give it to this one with chown", path.display(), whose(place.as_deref())
    )]
    Denied {
        /// The file.
        path: PathBuf,
        /// The folder on the way to it that is shut, where it is not the file.
        place: Option<PathBuf>,
        /// Whose that is.
        owner: String,
        /// What it lets whom do.
        mode: u32,
    },
    /// Nothing was to be made, and there is no database of this program.
    #[error("there is no database yet")]
    Absent,
    /// The file that is open has another name now, or none: what is written to it would be lost.
    #[error(
        "the database file {} was deleted or replaced while it was open; put it back, or start the program again with the \
         one that is there now", path.display()
    )]
    Replaced {
        /// Where it was.
        path: PathBuf,
    },
    /// The database was written by a newer version.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}; start the newer program, \
         or restore the backup made before the upgrade"
    )]
    NewerSchema {
        /// What the database has.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The database was written by an older version, and nothing was to be changed.
    #[error(
        "the database has schema version {found}, this program looks at version {known} only; `scumble serve` brings it \
         up to date"
    )]
    OlderSchema {
        /// What the database has.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The file is damaged or no database.
    #[error(
        "the database is damaged or not a database ({0}); move it away to start with a new one, or restore a backup"
    )]
    Corrupt(Cause),
    /// SQLite looked through the file and found it damaged.
    #[error("the database is damaged: {0}; restore a backup")]
    Damaged(String),
    /// It is somebody else's database, or one of ours that somebody has changed.
    #[error("this is not a database of this program: {0}")]
    Foreign(String),
    /// No space is left. Nothing was written.
    #[error("no space is left for the database ({0}); free some and try again")]
    Full(Cause),
    /// The database can be read but not written.
    #[error("the database cannot be written ({0}); check the permissions of the file and its folder, and the mount")]
    ReadOnly(Cause),
    /// Another process kept the database locked for too long. Nothing was written.
    #[error("the database is locked by another process ({0}); try again, and find out who holds it")]
    Busy(Cause),
    /// The database server cannot be reached, or went away in the middle. What was asked is not known to be written.
    #[error(
        "the database does not answer ({0}); check that it runs, that its URL is right, and that this machine reaches it"
    )]
    NoAnswer(Cause),
    /// The database server does not let this program in.
    #[error("the database refuses this program ({0}); check the user, the password and the name of the database")]
    Refused(Cause),
    /// The URL of the database does not make sense. It may hold a password and is not repeated here.
    #[error("the URL of the database is wrong: {0}; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url(String),
    /// What was written did not get to the disk for certain, and nothing more is written until the next start.
    #[error(
        "the database cannot be written to the disk ({0}); check the disk, then start the program again, which finds out \
         what is there"
    )]
    Unflushed(Cause),
    /// Anything else the database said.
    #[error("the database failed: {0}")]
    Database(Cause),
    /// A row holds something that this program cannot read.
    #[error("the database holds an unreadable {what}: {reason}; was it edited by hand?")]
    Unreadable {
        /// The column.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A job of this id was accepted before.
    #[error("job {0} exists already; every job needs an id of its own")]
    JobExists(JobId),
    /// A file row of this path exists.
    #[error("the file {0} exists already; every file needs a path of its own")]
    FileExists(String),
    /// A key of this id or with this secret exists.
    #[error("the key {0} exists already; every key needs an id and a secret of its own")]
    KeyExists(String),
    /// The store was closed.
    #[error("the store is closed; open it again")]
    Closed,
}

impl Error {
    /// Whether asking again soon is of little use, because somebody has to see to the database. A server that is away comes
    /// back, and a lock is let go.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Corrupt(_)
            | Self::Damaged(_)
            | Self::Unflushed(_)
            | Self::Database(_)
            | Self::Unreadable { .. }
            | Self::Replaced { .. } => true,
            Self::Open { .. }
            | Self::Denied { .. }
            | Self::Absent
            | Self::Foreign(_)
            | Self::NewerSchema { .. }
            | Self::OlderSchema { .. }
            | Self::Busy(_)
            | Self::NoAnswer(_)
            | Self::Refused(_)
            | Self::Url(_)
            | Self::JobExists(_)
            | Self::FileExists(_)
            | Self::KeyExists(_)
            | Self::Closed => false,
        }
    }
}

/// What belongs to somebody else.
fn whose(folder: Option<&Path>) -> String {
    folder.map_or_else(|| "it belongs to".to_owned(), |folder| format!("the folder {} belongs to", folder.display()))
}

/// What the database itself said, whichever it is. Cheap to clone.
#[derive(Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    pub(crate) fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
