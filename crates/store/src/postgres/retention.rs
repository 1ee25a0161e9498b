//! Deleting ended jobs. What belongs to a job goes with it, by its foreign keys; its files' rows stay.

use sqlx::Row;

use super::PostgresStore;
use super::errors::retried;
use super::leases::HINT_KEPT_MS;
use super::rows;
use crate::{Change, FileRecord, JobId, Result, Retention};

/// With `spares_older`, jobs stay that were accepted when results were kept for ever.
pub(super) async fn purge(store: &PostgresStore, retention: Retention, limit: u32, spares_older: bool) -> Result<u64> {
    let now_ms = store.now_ms();
    let Retention { kept_ms, unkept_ms } = retention;
    let mut purged = 0;
    for (keep_io, keep_ms) in [(false, Some(unkept_ms)), (true, kept_ms)] {
        let Some(keep_ms) = keep_ms else { continue };
        let left = i64::from(limit).saturating_sub_unsigned(purged).max(0);
        let deleted = retried!(
            sqlx::query(include_str!("queries/purge.sql"))
                .bind(keep_io)
                .bind(now_ms.saturating_sub(keep_ms))
                .bind(left)
                .bind(spares_older)
                .bind(retention.pictures_end_ms(keep_io, now_ms))
                .execute(&store.pool)
        )?;
        purged += deleted.rows_affected();
    }
    let forgotten = now_ms.saturating_sub(HINT_KEPT_MS);
    retried!(sqlx::query("DELETE FROM hints WHERE served_ms <= $1").bind(forgotten).execute(&store.pool))?;
    Ok(purged)
}

/// Whether jobs are here from when results were kept for ever. They have the lowest numbers.
pub(super) async fn has_older(store: &PostgresStore) -> Result<bool> {
    let one = "SELECT EXISTS (SELECT FROM jobs WHERE seq <= (SELECT through_seq FROM kept_for_ever)) AS found";
    Ok(retried!(sqlx::query(one).fetch_one(&store.pool))?.try_get("found")?)
}

pub(super) async fn delete_job(store: &PostgresStore, id: JobId) -> Result<Option<Vec<FileRecord>>> {
    let found =
        retried!(sqlx::query(include_str!("queries/delete_job.sql")).bind(id.to_string()).fetch_all(&store.pool))?;
    if found.is_empty() {
        return Ok(None);
    }
    store.announce(Change::Job(id));
    let mut files = Vec::new();
    for row in &found {
        if row.try_get::<Option<&str>, _>("path")?.is_some() {
            files.push(rows::file(row)?);
        }
    }
    Ok(Some(files))
}
