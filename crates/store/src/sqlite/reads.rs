//! Reads.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::db::Db;
use super::rows;
use crate::{Count, Event, Job, JobFilter, JobId, JobSummary, Outcome, Result};

pub(super) fn job(db: &Connection, id: JobId) -> Result<Option<Job>> {
    db.first(include_str!("queries/job.sql"), [id.to_string()], rows::job)
}

pub(super) fn summary(db: &Connection, id: JobId) -> Result<Option<JobSummary>> {
    let sql = concat!(include_str!("queries/summary.sql"), " WHERE jobs.id = ?1");
    db.first(sql, [id.to_string()], rows::summary)
}

pub(super) fn outcome(db: &Connection, id: JobId) -> Result<Option<Outcome>> {
    db.first(
        "SELECT * FROM outcomes WHERE job_seq = (SELECT seq FROM jobs WHERE id = ?1)",
        [id.to_string()],
        rows::outcome,
    )
}

/// The place of a job in the queue, if it is there; `Some(None)` where more than `most` would have to be counted.
pub(super) fn position(db: &Connection, id: JobId, most: i64) -> Result<Option<Option<u64>>> {
    db.first(include_str!("queries/position.sql"), params![id.to_string(), most], |row| {
        let ahead: Option<i64> = row.get("ahead")?;
        ahead.map(|ahead| rows::number("position", ahead)).transpose()
    })
}

pub(super) fn events(db: &Connection, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
    db.all(include_str!("queries/events.sql"), params![id.to_string(), after_seq], |row| rows::event(row, id))
}

pub(super) fn recent(db: &Connection, filter: JobFilter) -> Result<Vec<JobSummary>> {
    let JobFilter { endpoint, state, key_id, before, limit } = filter;
    // Put together from what is asked, because "or null" conditions would keep SQLite from using its indexes.
    let conditions: [(&str, Option<Value>); 4] = [
        ("jobs.endpoint = ?", endpoint.map(Value::from)),
        ("jobs.state = ?", state.map(|state| Value::from(state.as_str().to_owned()))),
        ("jobs.key_id = ?", key_id.map(Value::from)),
        ("jobs.seq < ?", before.map(Value::from)),
    ];
    let mut sql = format!("{} WHERE true", include_str!("queries/summary.sql"));
    let mut values = Vec::new();
    for (condition, value) in conditions {
        if let Some(value) = value {
            sql = format!("{sql} AND {condition}");
            values.push(value);
        }
    }
    sql.push_str(" ORDER BY jobs.seq DESC LIMIT ?");
    values.push(Value::from(limit));
    db.all(&sql, params_from_iter(values), rows::summary)
}

pub(super) fn counts(db: &Connection) -> Result<Vec<Count>> {
    db.all(include_str!("queries/counts.sql"), [], rows::count)
}

pub(super) fn overdue(db: &Connection, now_ms: i64) -> Result<Vec<JobId>> {
    db.all(include_str!("queries/overdue.sql"), [now_ms], |row| rows::job_id(row, "id"))
}
