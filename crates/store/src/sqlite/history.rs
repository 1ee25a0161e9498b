//! Jobs as pages list them: with input and outcome.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::db::Db;
use super::rows;
use crate::{AtWork, HistoryFilter, Job, Result};

const WHOLE: &str = "SELECT jobs.*, inputs.input, inputs.options, outcomes.status, outcomes.body, outcomes.headers, \
                     outcomes.error, outcomes.error_type, outcomes.inference_ms \
                     FROM jobs JOIN inputs ON inputs.job_seq = jobs.seq \
                     LEFT JOIN outcomes ON outcomes.job_seq = jobs.seq WHERE ";

pub(super) fn history(db: &Connection, filter: HistoryFilter) -> Result<Vec<Job>> {
    let HistoryFilter { key_id, endpoint, states, before, limit } = filter;
    // Put together from what is asked, because "or null" conditions would keep SQLite from using its indexes. The
    // numbers are found first: rows with large inputs are read for the page's own jobs only.
    let mut sql = "true".to_owned();
    let mut values = Vec::new();
    let mut only = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql = format!("{sql} AND {condition}");
            values.push(value);
        }
    };
    only("endpoint = ?", endpoint.map(Value::from));
    only("(key_id IS NULL OR key_id = ?)", key_id.map(Value::from));
    only("seq < ?", before.map(Value::from));
    if !states.is_empty() {
        sql.push_str(&format!(" AND state IN ({})", vec!["?"; states.len()].join(", ")));
        values.extend(states.into_iter().map(|state| Value::from(state.as_str().to_owned())));
    }
    values.push(Value::from(limit));
    let page = format!("SELECT seq FROM jobs WHERE {sql} ORDER BY seq DESC LIMIT ?");
    db.all(&format!("{WHOLE} jobs.seq IN ({page}) ORDER BY jobs.seq DESC"), params_from_iter(values), rows::job)
}

pub(super) fn latest(db: &Connection, endpoints: &[String], key_id: Option<&str>) -> Result<Vec<Job>> {
    let found = endpoints.iter().map(|endpoint| {
        let newest = "SELECT seq FROM jobs WHERE endpoint = ?1 AND state = 'done' \
                      AND (?2 IS NULL OR key_id IS NULL OR key_id = ?2) ORDER BY seq DESC LIMIT 1";
        db.first(&format!("{WHOLE} jobs.seq = ({newest})"), params![endpoint, key_id], rows::job)
    });
    found.filter_map(Result::transpose).collect()
}

pub(super) fn at_work(db: &Connection) -> Result<Vec<AtWork>> {
    let held = "SELECT id, worker FROM jobs INDEXED BY jobs_leases WHERE lease_expires_ms IS NOT NULL ORDER BY seq";
    db.all(held, [], |row| Ok(AtWork { job: rows::job_id(row, "id")?, worker: row.get("worker")? }))
}
