//! Rows of files by the page: there may be more of them than fit into memory.

use rusqlite::{Connection, params};

use super::db::Db;
use crate::Result;

/// The version in which a database began to keep the bytes of small files for a while.
const KEEPS_BYTES: i64 = 4;

/// What a database knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it may be deleted; `None` keeps it.
    pub expires_ms: Option<i64>,
    /// Its bytes are in the database: it need not be in its folder yet.
    pub is_fresh: bool,
}

/// How many there are, and all of their bytes.
pub(super) fn all(db: &Connection) -> Result<(u64, u64)> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM files";
    let all =
        db.first(sql, [], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(all.unwrap_or_default())
}

/// Up to `limit` of them behind `after`, in the order of their paths.
pub(super) fn page(db: &Connection, version: i64, after: &str, limit: u32) -> Result<Vec<KnownFile>> {
    let fresh = if version >= KEEPS_BYTES {
        "EXISTS (SELECT 1 FROM fresh_files WHERE fresh_files.path = files.path)"
    } else {
        "0"
    };
    let sql = format!(
        "SELECT path, bytes, expires_ms, {fresh} AS is_fresh FROM files WHERE path > ?1 ORDER BY path LIMIT ?2"
    );
    db.all(&sql, params![after, limit], |row| {
        Ok(KnownFile {
            path: row.get("path")?,
            bytes: row.get::<_, i64>("bytes")?.max(0).unsigned_abs(),
            expires_ms: row.get("expires_ms")?,
            is_fresh: row.get("is_fresh")?,
        })
    })
}
