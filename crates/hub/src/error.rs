//! What can go wrong, for the owner of this machine: what is wrong, and what to do.

use std::path::{Path, PathBuf};

use scumble_api::published::gigabytes;

use crate::names::RepoId;

/// The result of everything that asks a hub or writes what came from it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something that was wanted is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its publisher hands it out to those alone who have accepted its terms.
    #[error("{}", gated(repository, page, *has_token))]
    Gated {
        /// What was asked for.
        repository: RepoId,
        /// Where its terms are accepted.
        page: String,
        /// Whether somebody asked by name.
        has_token: bool,
    },
    /// No such repository, or one that is nobody else's business.
    #[error("{}", unknown(repository, page, *has_token))]
    Unknown {
        /// What was asked for.
        repository: RepoId,
        /// Where it would be.
        page: String,
        /// Whether somebody asked by name.
        has_token: bool,
    },
    /// No such branch, tag or commit.
    #[error("{repository} has no revision {revision:?}; name a branch, a tag or a full commit behind the @")]
    NoRevision {
        /// What was asked for.
        repository: RepoId,
        /// The same.
        revision: String,
    },
    /// A file that was there a moment ago, or never.
    #[error("{repository} has no file {file}")]
    NoFile {
        /// What was asked for.
        repository: RepoId,
        /// The same.
        file: String,
    },
    /// A repository that is laid out another way.
    #[error("{repository} lacks {}; expected a diffusers folder of this model", missing.join(", "))]
    Lacks {
        /// What was looked through.
        repository: RepoId,
        /// All that was not found.
        missing: Vec<String>,
    },
    /// The hub said no in another way.
    #[error("{host} answered {status} to a request for {what}{said}")]
    Refused {
        /// Who.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// The hub's own words, behind a colon.
        said: String,
    },
    /// Asked too much for too long.
    #[error(
        "{host} has had enough of requests from here for now (429); try again in some minutes, and with HF_TOKEN set, \
         which allows more of them"
    )]
    TooMany {
        /// Who.
        host: String,
    },
    /// No connection, again and again.
    #[error("{what} did not come, after {tries} tries: {last}; the same command goes on with what is here")]
    Broken {
        /// What was asked for.
        what: String,
        /// How often.
        tries: u32,
        /// The last thing that happened.
        last: String,
    },
    /// It cannot be opened at all.
    #[error("{0}")]
    Fetch(scumble_fetch::Error),
    /// An answer that makes no sense.
    #[error("the hub's answer about {what} cannot be used: {reason}")]
    Nonsense {
        /// What was asked for.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A name that leads elsewhere.
    #[error("{repository} names a file {name:?}, which must not be written; nothing of it is fetched")]
    Hostile {
        /// Whose file.
        repository: RepoId,
        /// As it was named.
        name: String,
    },
    /// Other bytes than those that were promised.
    #[error(
        "{file} of {repository} came with another checksum than its publisher's, twice; nothing of it is kept. Try again, \
         or over another network"
    )]
    Checksum {
        /// Whose file.
        repository: RepoId,
        /// Which.
        file: String,
    },
    /// The disk is too small.
    #[error(
        "{} are to come and {} are free; make room there, or name another disk with HF_HOME",
        gigabytes(*needed), in_folder(*free, folder)
    )]
    Space {
        /// Bytes that are to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// On whose disk.
        folder: PathBuf,
    },
    /// A folder that takes nothing.
    #[error("{} cannot be written: {error}; name a folder that can be with HF_HOME", folder.display())]
    Unwritable {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process is at it.
    #[error(
        "{model} is being fetched or removed by another program on this machine; wait until it has ended or stop it, and \
         try again"
    )]
    Claimed {
        /// The model.
        model: String,
    },
    /// An account of files that came cannot be used.
    #[error(
        "the record {} cannot be read: {reason}; which files are of {model} is not known without it. Delete it and pull \
         the model again: what has come is used, and `scumble models remove` can free it then",
        path.display()
    )]
    Record {
        /// The model.
        model: String,
        /// Its record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk does not do what it should.
    #[error("cannot {what} {}: {error}{}", path.display(), if is_full(error) { "; make room there, and the same command goes on" } else { "" })]
    Disk {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Nobody may be asked.
    #[error("{repository} at {revision} is not here, and HF_HUB_OFFLINE is set: nothing is fetched")]
    Offline {
        /// What was asked for.
        repository: RepoId,
        /// The same.
        revision: String,
    },
}

impl Error {
    pub(crate) fn disk(what: &'static str, path: &Path, error: std::io::Error) -> Self {
        Self::Disk { what, path: path.to_owned(), error }
    }

    pub(crate) fn unwritable(folder: &Path, error: std::io::Error) -> Self {
        Self::Unwritable { folder: folder.to_owned(), error }
    }

    /// The same in the words of who asked a hub for this: its limits are not those of a file that somebody gave.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Fetch(scumble_fetch::Error::TooLarge { max }) => {
                Self::nonsense(what, format!("it is larger than {max} bytes, which is the most that it may be"))
            }
            other => other,
        }
    }

    pub(crate) fn nonsense(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Nonsense { what: what.into(), reason: reason.into() }
    }

    /// Whether the way there or the disk is at fault, and not what was asked for.
    pub fn is_of_system(&self) -> bool {
        matches!(
            self,
            Self::TooMany { .. }
                | Self::Broken { .. }
                | Self::Fetch(_)
                | Self::Space { .. }
                | Self::Unwritable { .. }
                | Self::Claimed { .. }
                | Self::Record { .. }
                | Self::Disk { .. }
        )
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn in_folder(free: u64, folder: &Path) -> String {
    format!("only {} of the disk of {}", gigabytes(free), folder.display())
}

fn gated(repository: &RepoId, page: &str, has_token: bool) -> String {
    let then = match has_token {
        true => "with the account whose token HF_TOKEN holds; the token itself has to allow reading gated repositories",
        false => {
            "with an account, and set HF_TOKEN to a token of that account (https://huggingface.co/settings/tokens)"
        }
    };
    format!("{repository} is handed out to those who have accepted its licence: accept it at {page} {then}")
}

fn unknown(repository: &RepoId, page: &str, has_token: bool) -> String {
    let private = match has_token {
        true => "or the token in HF_TOKEN may not read it",
        false => "or it is private: set HF_TOKEN to a token that may read it",
    };
    format!("there is no repository {repository} ({page}), {private}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full = |kind| Error::disk("write", Path::new("/x"), std::io::Error::from(kind)).to_string();
        assert!(full(std::io::ErrorKind::StorageFull).contains("make room"));
        assert!(!full(std::io::ErrorKind::PermissionDenied).contains("make room"));
        let space = Error::Space { needed: 33_000_000_000, free: 2_000_000_000, folder: "/cache".into() };
        assert_eq!(
            space.to_string(),
            "33.0 GB are to come and only 2.0 GB of the disk of /cache are free; make room there, or name another disk \
             with HF_HOME"
        );
    }
}
