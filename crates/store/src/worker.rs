//! Workers as everybody sees them: who is there, and who runs what.

use serde_json::Value;

use crate::JobId;

/// A worker that was silent for so long does not come back under its name.
pub(crate) const FORGOTTEN_MS: i64 = 24 * 60 * 60 * 1000;

/// A worker that has said that it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerRecord {
    /// Its name, unique among the processes on a database.
    pub name: String,
    /// What it tells of itself; opaque here.
    pub about: Value,
    /// When it said so first.
    pub since_ms: i64,
    /// When it said so last.
    pub seen_ms: i64,
}

/// A job that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtWork {
    /// The job.
    pub job: JobId,
    /// Who holds its lease: `process/slot`.
    pub worker: String,
}
