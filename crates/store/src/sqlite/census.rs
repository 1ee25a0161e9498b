//! How the database stands, in numbers.

use std::path::Path;

use rusqlite::Connection;

use super::db::Db;
use super::{reads, rows};
use crate::{Census, FilesPart, Oldest, Result};

/// Webhooks on their way; more than so many are not counted.
const DELIVERIES: &str = "SELECT count(*) AS number FROM \
                          (SELECT 1 FROM deliveries INDEXED BY deliveries_due WHERE next_ms IS NOT NULL LIMIT ?1)";

/// Files by path.
pub(super) const FILES: &str = "SELECT count(*) AS files, coalesce(sum(bytes), 0) AS bytes, max(path) AS last FROM \
                     (SELECT path, bytes FROM files WHERE path > ?1 ORDER BY path LIMIT ?2)";

pub(super) fn take(db: &Connection, file: &Path) -> Result<Census> {
    let oldest = db.all(include_str!("queries/oldest.sql"), [], |row| {
        Ok(Oldest { endpoint: row.get("endpoint")?, created_ms: row.get("created_ms")? })
    })?;
    let deliveries = db.first(DELIVERIES, [Census::DELIVERIES_MAX], |row| Ok(row.get::<_, i64>("number")?))?;
    Ok(Census {
        jobs: reads::counts(db)?,
        oldest,
        deliveries: rows::number("webhooks", deliveries.unwrap_or(0))?,
        delivery_due_ms: super::deliveries::next_ms(db)?,
        database_bytes: bytes(file),
    })
}

pub(super) fn files(db: &Connection, after: Option<String>, limit: u32) -> Result<FilesPart> {
    let counted = db.first(FILES, rusqlite::params![after.unwrap_or_default(), limit], |row| {
        Ok(FilesPart {
            files: rows::number("files", row.get("files")?)?,
            bytes: rows::number("bytes", row.get("bytes")?)?,
            last: row.get("last")?,
        })
    })?;
    Ok(counted.unwrap_or_default())
}

/// The file and its log. One that is not there takes nothing.
fn bytes(file: &Path) -> u64 {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let of = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    of(file) + of(Path::new(&log))
}
