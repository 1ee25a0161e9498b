//! File rows.

use rusqlite::{Connection, params};

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::{Error, FileRecord, FreshFile, FreshSize, JobId, Result};

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

/// Records the files that a job's input refers to. Those of a copy are there already.
pub(super) fn give(tx: &mut Tx, job_seq: i64, files: Vec<FileRecord>) -> Result<()> {
    for file in files {
        let path = file.path.clone();
        match insert(tx, file) {
            Ok(()) | Err(Error::FileExists(_)) => {}
            Err(error) => return Err(error),
        }
        tx.conn.run("INSERT INTO given_files (path, job_seq) VALUES (?1, ?2)", params![path, job_seq])?;
    }
    Ok(())
}

pub(super) fn given(db: &Connection, id: JobId) -> Result<Vec<FileRecord>> {
    let given = "SELECT files.* FROM jobs JOIN given_files ON given_files.job_seq = jobs.seq \
                 JOIN files ON files.path = given_files.path WHERE jobs.id = ?1 ORDER BY files.path";
    db.all(given, [id.to_string()], rows::file)
}

/// The files that the input of this job refers to and no other's.
pub(super) fn given_only_to(db: &Connection, job_seq: i64) -> Result<Vec<FileRecord>> {
    let given = "SELECT files.* FROM given_files JOIN files ON files.path = given_files.path \
                 WHERE given_files.job_seq = ?1 AND NOT EXISTS (SELECT 1 FROM given_files AS others \
                 WHERE others.path = given_files.path AND others.job_seq <> ?1) ORDER BY files.path";
    db.all(given, [job_seq], rows::file)
}

pub(super) fn forget(tx: &mut Tx, path: &str) -> Result<bool> {
    Ok(tx.conn.run("DELETE FROM files WHERE path = ?1", [path])? > 0)
}

/// Keeps the bytes of a file whose row is there.
pub(super) fn keep(tx: &Tx, file: &FreshFile) -> Result<()> {
    let FreshFile { path, bytes } = file;
    tx.conn.run("INSERT INTO fresh_files (path, bytes) VALUES (?1, ?2)", params![path, bytes])?;
    Ok(())
}

pub(super) fn fresh_size(db: &Connection) -> Result<FreshSize> {
    let sql = "SELECT count(*) AS files, coalesce(sum(length(bytes)), 0) AS bytes FROM fresh_files";
    let size = db.first(sql, [], |row| Ok(FreshSize { files: row.get("files")?, bytes: row.get("bytes")? }))?;
    Ok(size.unwrap_or_default())
}

pub(super) fn fresh(db: &Connection, limit: u32) -> Result<Vec<String>> {
    db.all("SELECT path FROM fresh_files ORDER BY rowid LIMIT ?1", [limit], |row| Ok(row.get("path")?))
}

pub(super) fn fresh_bytes(db: &Connection, path: &str) -> Result<Option<Vec<u8>>> {
    db.first("SELECT bytes FROM fresh_files WHERE path = ?1", [path], |row| Ok(row.get("bytes")?))
}

/// Lets go of bytes; gives the paths that have no row any more.
pub(super) fn settle(tx: &Tx, paths: Vec<String>) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    for path in paths {
        tx.conn.run("DELETE FROM fresh_files WHERE path = ?1", [&path])?;
        if tx.conn.first("SELECT 1 FROM files WHERE path = ?1", [&path], |_| Ok(()))?.is_none() {
            gone.push(path);
        }
    }
    Ok(gone)
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
