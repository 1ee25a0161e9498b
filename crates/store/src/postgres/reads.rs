//! Reads.

use sqlx::{Postgres, QueryBuilder, Row};

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::{Count, Event, Job, JobFilter, JobId, JobSummary, Outcome, Result};

/// Of the rows that summaries are read from.
const SUMMARY: &str = "SELECT jobs.*, outcomes.status, outcomes.error, outcomes.error_type, outcomes.inference_ms \
                       FROM jobs LEFT JOIN outcomes \
                       ON outcomes.job_seq = jobs.seq AND jobs.finished_ms IS NOT NULL WHERE ";

pub(super) async fn job(store: &PostgresStore, id: JobId) -> Result<Option<Job>> {
    let row = retried!(
        sqlx::query("SELECT * FROM whole_jobs WHERE id = $1").bind(id.to_string()).fetch_optional(&store.pool)
    )?;
    row.as_ref().map(rows::job).transpose()
}

pub(super) async fn summary(store: &PostgresStore, id: JobId) -> Result<Option<JobSummary>> {
    let found = retried!(async {
        let mut query = QueryBuilder::<Postgres>::new(SUMMARY);
        query.push("jobs.id = ").push_bind(id.to_string());
        query.build().fetch_optional(&store.pool).await
    })?;
    found.as_ref().map(rows::summary).transpose()
}

pub(super) async fn outcome(store: &PostgresStore, id: JobId) -> Result<Option<Outcome>> {
    let found = retried!(
        sqlx::query(
            "SELECT outcomes.* FROM jobs JOIN outcomes ON outcomes.job_seq = jobs.seq \
             WHERE jobs.id = $1 AND jobs.finished_ms IS NOT NULL",
        )
        .bind(id.to_string())
        .fetch_optional(&store.pool)
    )?;
    found.as_ref().map(rows::outcome).transpose()
}

/// A job that was there a moment ago.
pub(super) async fn known_job(store: &PostgresStore, id: JobId) -> Result<Job> {
    job(store, id).await?.ok_or_else(|| rows::unreadable("job", format!("{id} has vanished")))
}

pub(super) async fn position(store: &PostgresStore, id: JobId) -> Result<Option<u64>> {
    let row =
        retried!(sqlx::query(include_str!("queries/position.sql")).bind(id.to_string()).fetch_optional(&store.pool))?;
    row.map(|row| rows::number("position", row.try_get::<i64, _>("ahead")?)).transpose()
}

pub(super) async fn events(store: &PostgresStore, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
    let found = retried!(
        sqlx::query(include_str!("queries/events.sql")).bind(id.to_string()).bind(after_seq).fetch_all(&store.pool)
    )?;
    found.iter().map(|row| rows::event(row, id)).collect()
}

pub(super) async fn recent(store: &PostgresStore, filter: &JobFilter) -> Result<Vec<JobSummary>> {
    let found = retried!(async { listed(filter).build().fetch_all(&store.pool).await })?;
    found.iter().map(rows::summary).collect()
}

/// Put together from what is asked, because "or null" conditions would keep PostgreSQL from using its indexes.
fn listed(filter: &JobFilter) -> QueryBuilder<Postgres> {
    let JobFilter { endpoint, state, key_id, before, limit } = filter;
    let mut query = QueryBuilder::new(SUMMARY);
    query.push("true");
    if let Some(endpoint) = endpoint {
        query.push(" AND jobs.endpoint = ").push_bind(plain(endpoint).into_owned());
    }
    if let Some(state) = state {
        query.push(" AND jobs.state = ").push_bind(state.as_str());
    }
    if let Some(key_id) = key_id {
        query.push(" AND jobs.key_id = ").push_bind(plain(key_id).into_owned());
    }
    if let Some(before) = before {
        query.push(" AND jobs.seq < ").push_bind(*before);
    }
    query.push(" ORDER BY jobs.seq DESC LIMIT ").push_bind(i64::from(*limit));
    query
}

pub(super) async fn counts(store: &PostgresStore) -> Result<Vec<Count>> {
    let found = retried!(sqlx::query(include_str!("queries/counts.sql")).fetch_all(&store.pool))?;
    found.iter().map(rows::count).collect()
}

pub(super) async fn overdue(store: &PostgresStore) -> Result<Vec<JobId>> {
    let now_ms = store.now_ms();
    let found = retried!(sqlx::query(include_str!("queries/overdue.sql")).bind(now_ms).fetch_all(&store.pool))?;
    found.iter().map(|row| rows::job_id(row, "id")).collect()
}
