//! How a backup looks: a tar archive that other programs can read, of plain files in this order.
//!
//! 1. `scumble-backup.json`, a [`Head`]: what it is, and the most that it will hold;
//! 2. `files/PATH`, each file that the database names;
//! 3. `scumble.db`, the database, without the rows of files that were deleted while the archive was made;
//! 4. `manifest`: a line for each of the above, `SHA-256  size  name`, in the same order. An archive without it was cut.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

pub(super) const HEAD: &str = "scumble-backup.json";
pub(super) const FILES: &str = "files/";
pub(super) const DATABASE: &str = "scumble.db";
pub(super) const MANIFEST: &str = "manifest";

/// The form that this program writes, and the newest that it reads.
const FORM: u32 = 1;

/// Longer than any head.
pub(super) const HEAD_BYTES: u64 = 4096;

/// What comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Grows when what is written cannot be read by older programs.
    pub(super) scumble_backup: u32,
    /// The version of the program that wrote it.
    pub(super) program: String,
    /// When the database was as it is here.
    pub(super) made_ms: i64,
    /// At most so many files follow.
    pub(super) files: u64,
    /// They have at most so many bytes.
    pub(super) file_bytes: u64,
    /// The database has at most so many.
    pub(super) database_bytes: u64,
}

impl Head {
    pub(super) fn new(made_ms: i64, files: u64, file_bytes: u64, database_bytes: u64) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { scumble_backup: FORM, program, made_ms, files, file_bytes, database_bytes }
    }

    /// Reads it, if this program can go on from there.
    pub(super) fn read(text: &[u8]) -> Result<Self, Failure> {
        let strange = || Failure::System(format!("it is not a backup of Scumble: its {HEAD} says something else"));
        let form =
            serde_json::from_slice::<serde_json::Value>(text).ok().and_then(|head| head["scumble_backup"].as_u64());
        match form {
            Some(form) if form > u64::from(FORM) => Err(Failure::System(format!(
                "a newer version of Scumble has written it (form {form}, this program reads up to {FORM}); restore it with \
                 that version"
            ))),
            Some(_) => serde_json::from_slice(text).map_err(|_| strange()),
            None => Err(strange()),
        }
    }
}

/// A line of the manifest.
pub(super) fn line(sum: &[u8], bytes: u64, name: &str) -> String {
    use std::fmt::Write;
    let mut line = String::with_capacity(name.len() + 90);
    for byte in sum {
        let _ = write!(line, "{byte:02x}");
    }
    let _ = writeln!(line, "  {bytes}  {name}");
    line
}
