//! Jobs as pages list them: with input and outcome.

use sqlx::{Postgres, QueryBuilder, Row};

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::{AtWork, HistoryFilter, Job, Result};

pub(super) async fn history(store: &PostgresStore, filter: &HistoryFilter) -> Result<Vec<Job>> {
    let found = retried!(async { listed(filter).build().fetch_all(&store.pool).await })?;
    found.iter().map(rows::job).collect()
}

/// Put together from what is asked, because "or null" conditions would keep PostgreSQL from using its indexes.
fn listed(filter: &HistoryFilter) -> QueryBuilder<Postgres> {
    let HistoryFilter { key_id, endpoint, states, before, limit } = filter;
    let mut query = QueryBuilder::new("SELECT * FROM whole_jobs WHERE seq IN (SELECT seq FROM jobs WHERE true");
    if let Some(endpoint) = endpoint {
        query.push(" AND endpoint = ").push_bind(plain(endpoint).into_owned());
    }
    if let Some(key_id) = key_id {
        query.push(" AND (key_id IS NULL OR key_id = ").push_bind(plain(key_id).into_owned()).push(")");
    }
    if !states.is_empty() {
        let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        query.push(" AND state = ANY (").push_bind(states).push(")");
    }
    if let Some(before) = before {
        query.push(" AND seq < ").push_bind(*before);
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(i64::from(*limit)).push(") ORDER BY seq DESC");
    query
}

pub(super) async fn latest(store: &PostgresStore, endpoints: &[&str], key_id: Option<&str>) -> Result<Vec<Job>> {
    let newest = "SELECT whole_jobs.* FROM unnest($1::text[]) AS wanted (endpoint) CROSS JOIN LATERAL (\
                  SELECT seq FROM jobs WHERE jobs.endpoint = wanted.endpoint COLLATE \"C\" AND state = 'done' \
                  AND ($2::text IS NULL OR key_id IS NULL OR key_id = $2) ORDER BY seq DESC LIMIT 1\
                  ) AS newest JOIN whole_jobs ON whole_jobs.seq = newest.seq";
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| plain(endpoint).into_owned()).collect();
    let found = retried!(sqlx::query(newest).bind(endpoints.clone()).bind(key_id.map(plain)).fetch_all(&store.pool))?;
    found.iter().map(rows::job).collect()
}

pub(super) async fn at_work(store: &PostgresStore) -> Result<Vec<AtWork>> {
    let found = retried!(
        sqlx::query("SELECT id, worker FROM jobs WHERE lease_expires_ms IS NOT NULL ORDER BY seq")
            .fetch_all(&store.pool)
    )?;
    found.iter().map(|row| Ok(AtWork { job: rows::job_id(row, "id")?, worker: row.try_get("worker")? })).collect()
}
