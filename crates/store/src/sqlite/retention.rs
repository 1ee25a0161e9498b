//! Deleting ended jobs. What belongs to a job goes with it, by its foreign keys; its files' rows stay until their bytes are
//! gone, with an end from now on.

use rusqlite::{Connection, params};

use super::claims::HINT_KEPT_MS;
use super::db::Db;
use super::files;
use super::steps::Standing;
use super::writer::Tx;
use crate::{FileRecord, JobId, Result, Retention};

/// Pages that go back to the file system with one purge: a few megabytes, so that nobody has to wait for long.
const PAGES_FREED: u32 = 1_000;

/// With `spares_older`, jobs stay that were accepted when results were kept for ever.
pub(super) fn purge(tx: &mut Tx, retention: Retention, limit: u32, spares_older: bool) -> Result<u64> {
    let Retention { kept_ms, unkept_ms } = retention;
    let mut purged = 0;
    for (keep_io, keep_ms) in [(false, Some(unkept_ms)), (true, kept_ms)] {
        let Some(keep_ms) = keep_ms else { continue };
        let left = u64::from(limit).saturating_sub(purged).cast_signed();
        let before_ms = tx.now_ms.saturating_sub(keep_ms);
        if let Some(end_ms) = retention.pictures_end_ms(keep_io, tx.now_ms) {
            let files = include_str!("queries/purge_files.sql");
            tx.conn.run(files, params![keep_io, before_ms, left, spares_older, end_ms])?;
        }
        let deleted =
            tx.conn.run(include_str!("queries/purge.sql"), params![keep_io, before_ms, left, spares_older])?;
        purged += deleted as u64;
    }
    let forgotten = tx.now_ms.saturating_sub(HINT_KEPT_MS);
    tx.conn.run("DELETE FROM hints WHERE served_ms <= ?1", [forgotten])?;
    if purged > 0 {
        give_space_back(tx)?;
    }
    Ok(purged)
}

/// Whether jobs are here from when results were kept for ever. They have the lowest numbers.
pub(super) fn has_older(db: &Connection) -> Result<bool> {
    let one = "SELECT 1 FROM jobs WHERE seq <= (SELECT through_seq FROM kept_for_ever) LIMIT 1";
    Ok(db.first(one, [], |_| Ok(()))?.is_some())
}

pub(super) fn delete_job(tx: &mut Tx, id: JobId) -> Result<Option<Vec<FileRecord>>> {
    let seq = match Standing::of(tx, id)? {
        Some(job) if job.state.is_end() => job.seq,
        _ => return Ok(None),
    };
    let mut files = files::of_job(&tx.conn, id)?;
    files.extend(files::given_only_to(&tx.conn, seq)?);
    tx.conn.run("DELETE FROM jobs WHERE seq = ?1", [seq])?;
    give_space_back(tx)?;
    Ok(Some(files))
}

fn give_space_back(tx: &Tx) -> Result<()> {
    // Each step of this statement frees a page.
    tx.conn.all(&format!("PRAGMA incremental_vacuum({PAGES_FREED})"), [], |_| Ok(()))?;
    Ok(())
}
