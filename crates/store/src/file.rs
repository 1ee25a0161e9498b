//! File rows: what is known about bytes that `scumble-files` keeps.

use crate::JobId;

/// The row about one stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Where `scumble-files` keeps the bytes; also the id of the row.
    pub path: String,
    /// The job that made it; `None` for an upload.
    pub job_id: Option<JobId>,
    /// Its content type.
    pub content_type: String,
    /// Its size.
    pub bytes: i64,
    /// When it was stored.
    pub created_ms: i64,
    /// When it may be deleted; `None` keeps it.
    pub expires_ms: Option<i64>,
}
