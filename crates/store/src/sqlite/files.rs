//! File rows.

use sqlx::SqliteExecutor;

use super::writer::Tx;
use super::{rows, steps};
use crate::{Error, FileRecord, Result};

pub(super) async fn insert(tx: &mut Tx, file: FileRecord) -> Result<()> {
    let FileRecord { path, job_id, content_type, bytes, created_ms, expires_ms, owner, access } = file;
    let inserted = sqlx::query(
        "INSERT INTO files (path, job_id, content_type, bytes, created_ms, expires_ms, owner, access) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (path) DO NOTHING",
    )
    .bind(&path)
    .bind(job_id.map(|id| id.to_string()))
    .bind(content_type)
    .bind(bytes)
    .bind(created_ms)
    .bind(expires_ms)
    .bind(owner)
    .bind(steps::to_json("access", &access)?)
    .execute(&mut tx.conn)
    .await?;
    if inserted.rows_affected() == 0 { Err(Error::FileExists(path)) } else { Ok(()) }
}

pub(super) async fn by_path(db: impl SqliteExecutor<'_>, path: &str) -> Result<Option<FileRecord>> {
    let row = sqlx::query("SELECT * FROM files WHERE path = ?1").bind(path).fetch_optional(db).await?;
    row.as_ref().map(rows::file).transpose()
}
