//! File rows.

use rusqlite::{Connection, params};

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::{Error, FileRecord, JobId, Result};

pub(super) fn insert(tx: &mut Tx, file: FileRecord) -> Result<()> {
    let FileRecord { path, job_id, content_type, bytes, created_ms, expires_ms, owner, access } = file;
    let job_id = job_id.map(|id| id.to_string());
    let access = rows::to_json("access", &access)?;
    let inserted = tx.conn.run(
        "INSERT INTO files (path, job_id, content_type, bytes, created_ms, expires_ms, owner, access) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (path) DO NOTHING",
        params![path, job_id, content_type, bytes, created_ms, expires_ms, owner, access],
    )?;
    if inserted == 0 { Err(Error::FileExists(path)) } else { Ok(()) }
}

pub(super) fn forget(tx: &mut Tx, path: &str) -> Result<bool> {
    Ok(tx.conn.run("DELETE FROM files WHERE path = ?1", [path])? > 0)
}

pub(super) fn by_path(db: &Connection, path: &str) -> Result<Option<FileRecord>> {
    db.first("SELECT * FROM files WHERE path = ?1", [path], rows::file)
}

pub(super) fn of_job(db: &Connection, id: JobId) -> Result<Vec<FileRecord>> {
    db.all("SELECT * FROM files WHERE job_id = ?1 ORDER BY path", [id.to_string()], rows::file)
}

pub(super) fn expired(db: &Connection, now_ms: i64, limit: u32) -> Result<Vec<FileRecord>> {
    db.all(include_str!("queries/expired_files.sql"), params![now_ms, limit], rows::file)
}
