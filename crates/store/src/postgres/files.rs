//! File rows.

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::{Error, FileRecord, JobId, Result};

pub(super) async fn put(store: &PostgresStore, file: FileRecord) -> Result<()> {
    let FileRecord { path, job_id, content_type, bytes, created_ms, expires_ms, owner, access } = &file;
    let access = rows::to_json("access", access)?;
    let mut maybe_written = false;
    let inserted = retried!(again => {
        maybe_written |= again;
        sqlx::query(
            "INSERT INTO files (path, job_id, content_type, bytes, created_ms, expires_ms, owner, access) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (path) DO NOTHING",
        )
        .bind(plain(path))
        .bind(job_id.map(|id| id.to_string()))
        .bind(plain(content_type))
        .bind(bytes)
        .bind(created_ms)
        .bind(expires_ms)
        .bind(owner.as_deref().map(plain))
        .bind(&access)
        .execute(&store.pool)
    })?;
    let written = inserted.rows_affected() > 0
        // Ours: the try before was written, and its answer was lost.
        || maybe_written && by_path(store, path).await?.is_some_and(|found| found == file);
    if written { Ok(()) } else { Err(Error::FileExists(file.path)) }
}

pub(super) async fn by_path(store: &PostgresStore, path: &str) -> Result<Option<FileRecord>> {
    let row =
        retried!(sqlx::query("SELECT * FROM files WHERE path = $1").bind(plain(path)).fetch_optional(&store.pool))?;
    row.as_ref().map(rows::file).transpose()
}

/// The files that a job's input refers to.
pub(super) async fn given(store: &PostgresStore, id: JobId) -> Result<Vec<FileRecord>> {
    let given = "SELECT files.* FROM jobs JOIN given_files ON given_files.job_seq = jobs.seq \
                 JOIN files ON files.path = given_files.path WHERE jobs.id = $1 ORDER BY files.path";
    let found = retried!(sqlx::query(given).bind(id.to_string()).fetch_all(&store.pool))?;
    found.iter().map(rows::file).collect()
}

pub(super) async fn expired(store: &PostgresStore, limit: u32) -> Result<Vec<FileRecord>> {
    let now_ms = store.now_ms();
    let found = retried!(
        sqlx::query("SELECT * FROM files WHERE expires_ms <= $1 ORDER BY expires_ms, path LIMIT $2")
            .bind(now_ms)
            .bind(i64::from(limit))
            .fetch_all(&store.pool)
    )?;
    found.iter().map(rows::file).collect()
}

pub(super) async fn forget(store: &PostgresStore, path: &str) -> Result<bool> {
    let removed = retried!(sqlx::query("DELETE FROM files WHERE path = $1").bind(plain(path)).execute(&store.pool))?;
    Ok(removed.rows_affected() > 0)
}
