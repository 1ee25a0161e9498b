//! Reads.

use sqlx::{QueryBuilder, Row, SqliteExecutor};

use super::rows;
use crate::{Count, Error, Event, Job, JobFilter, JobId, JobSummary, Result};

pub(super) async fn job(db: impl SqliteExecutor<'_>, id: JobId) -> Result<Option<Job>> {
    let row = sqlx::query(include_str!("queries/job.sql")).bind(id.to_string()).fetch_optional(db).await?;
    row.as_ref().map(rows::job).transpose()
}

/// A job that this transaction has just claimed.
pub(super) async fn known_job(db: impl SqliteExecutor<'_>, id: JobId) -> Result<Job> {
    job(db, id).await?.ok_or_else(|| Error::Unreadable { what: "job", reason: format!("{id} has no input") })
}

pub(super) async fn position(db: impl SqliteExecutor<'_>, id: JobId) -> Result<Option<u64>> {
    let row = sqlx::query(include_str!("queries/position.sql")).bind(id.to_string()).fetch_optional(db).await?;
    row.map(|row| rows::number("position", row.try_get("ahead")?)).transpose()
}

pub(super) async fn events(db: impl SqliteExecutor<'_>, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
    let found = sqlx::query(include_str!("queries/events.sql")).bind(id.to_string()).bind(after_seq).fetch_all(db);
    found.await?.iter().map(|row| rows::event(row, id)).collect()
}

pub(super) async fn recent(db: impl SqliteExecutor<'_>, filter: &JobFilter) -> Result<Vec<JobSummary>> {
    let JobFilter { endpoint, state, key_id, before, limit } = filter;
    // Put together from what is asked, because "or null" conditions would keep SQLite from using its indexes.
    let mut query = QueryBuilder::new(
        "SELECT jobs.*, outcomes.status, outcomes.error \
         FROM jobs LEFT JOIN outcomes ON outcomes.job_seq = jobs.seq WHERE true",
    );
    if let Some(endpoint) = endpoint {
        query.push(" AND jobs.endpoint = ").push_bind(endpoint);
    }
    if let Some(state) = state {
        query.push(" AND jobs.state = ").push_bind(state.as_str());
    }
    if let Some(key_id) = key_id {
        query.push(" AND jobs.key_id = ").push_bind(key_id);
    }
    if let Some(before) = before {
        query.push(" AND jobs.seq < ").push_bind(before);
    }
    query.push(" ORDER BY jobs.seq DESC LIMIT ").push_bind(limit);
    query.build().fetch_all(db).await?.iter().map(rows::summary).collect()
}

pub(super) async fn counts(db: impl SqliteExecutor<'_>) -> Result<Vec<Count>> {
    sqlx::query(include_str!("queries/counts.sql")).fetch_all(db).await?.iter().map(rows::count).collect()
}

pub(super) async fn overdue(db: impl SqliteExecutor<'_>, now_ms: i64) -> Result<Vec<JobId>> {
    let found = sqlx::query(include_str!("queries/overdue.sql")).bind(now_ms).fetch_all(db);
    found.await?.iter().map(|row| rows::job_id(row, "id")).collect()
}
