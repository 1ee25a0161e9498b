//! From rows to types.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{Count, Error, Event, FileRecord, Job, JobId, JobSummary, KeyRecord, Outcome, Priority, Result, State};

/// How priorities are stored: in the order of the queue.
pub(super) fn priority_number(priority: Priority) -> i64 {
    match priority {
        Priority::Normal => 0,
        Priority::Low => 1,
    }
}

pub(super) fn job(row: &SqliteRow) -> Result<Job> {
    let state = state(row)?;
    Ok(Job {
        id: job_id(row, "id")?,
        seq: row.try_get("seq")?,
        endpoint: row.try_get("endpoint")?,
        input: json(row, "input")?,
        key_id: row.try_get("key_id")?,
        priority: priority(row)?,
        start_by_ms: row.try_get("start_by_ms")?,
        not_before_ms: row.try_get("not_before_ms")?,
        webhook: row.try_get("webhook")?,
        hint: row.try_get("hint")?,
        keep_io: row.try_get("keep_io")?,
        options: json(row, "options")?,
        state,
        attempt: row.try_get("attempt")?,
        drained: row.try_get("drained")?,
        crashes: row.try_get("crashes")?,
        created_ms: row.try_get("created_ms")?,
        started_ms: row.try_get("started_ms")?,
        finished_ms: row.try_get("finished_ms")?,
        cancel_requested: row.try_get::<Option<&str>, _>("cancel_outcome")?.is_some(),
        outcome: if state.is_end() { Some(outcome(row)?) } else { None },
    })
}

pub(super) fn summary(row: &SqliteRow) -> Result<JobSummary> {
    Ok(JobSummary {
        id: job_id(row, "id")?,
        seq: row.try_get("seq")?,
        endpoint: row.try_get("endpoint")?,
        key_id: row.try_get("key_id")?,
        priority: priority(row)?,
        state: state(row)?,
        attempt: row.try_get("attempt")?,
        created_ms: row.try_get("created_ms")?,
        started_ms: row.try_get("started_ms")?,
        finished_ms: row.try_get("finished_ms")?,
        status: row.try_get::<Option<i64>, _>("status")?.map(|status| number("status", status)).transpose()?,
        error: row.try_get("error")?,
    })
}

pub(super) fn event(row: &SqliteRow, job_id: JobId) -> Result<Event> {
    Ok(Event {
        seq: row.try_get("seq")?,
        job_id,
        attempt: row.try_get("attempt")?,
        at_ms: row.try_get("at_ms")?,
        kind: json(row, "data")?,
    })
}

pub(super) fn count(row: &SqliteRow) -> Result<Count> {
    Ok(Count { endpoint: row.try_get("endpoint")?, state: state(row)?, jobs: number("jobs", row.try_get("jobs")?)? })
}

pub(super) fn key(row: &SqliteRow) -> Result<KeyRecord> {
    Ok(KeyRecord {
        id: row.try_get("id")?,
        label: row.try_get("label")?,
        created_ms: row.try_get("created_ms")?,
        last_used_ms: row.try_get("last_used_ms")?,
        revoked_ms: row.try_get("revoked_ms")?,
    })
}

pub(super) fn file(row: &SqliteRow) -> Result<FileRecord> {
    let of_job = row.try_get::<Option<&str>, _>("job_id")?.is_some();
    Ok(FileRecord {
        path: row.try_get("path")?,
        job_id: if of_job { Some(job_id(row, "job_id")?) } else { None },
        content_type: row.try_get("content_type")?,
        bytes: row.try_get("bytes")?,
        created_ms: row.try_get("created_ms")?,
        expires_ms: row.try_get("expires_ms")?,
        owner: row.try_get("owner")?,
        access: json(row, "access")?,
    })
}

pub(super) fn state(row: &SqliteRow) -> Result<State> {
    let name: &str = row.try_get("state")?;
    State::from_name(name).ok_or_else(|| unreadable("state", format!("{name:?}")))
}

pub(super) fn job_id(row: &SqliteRow, column: &'static str) -> Result<JobId> {
    let text: &str = row.try_get(column)?;
    JobId::from_str(text).map_err(|error| unreadable(column, error))
}

/// What the JSON in a column says.
pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

/// A count or code out of SQLite's one kind of integer.
pub(super) fn number<T: TryFrom<i64, Error: std::fmt::Display>>(what: &'static str, number: i64) -> Result<T> {
    T::try_from(number).map_err(|error| unreadable(what, error))
}

fn outcome(row: &SqliteRow) -> Result<Outcome> {
    Ok(Outcome {
        status: number("status", row.try_get("status")?)?,
        body: json(row, "body")?,
        headers: json(row, "headers")?,
        error: row.try_get("error")?,
        error_type: row.try_get("error_type")?,
        inference_ms: row.try_get("inference_ms")?,
    })
}

fn priority(row: &SqliteRow) -> Result<Priority> {
    match row.try_get("priority")? {
        0 => Ok(Priority::Normal),
        1 => Ok(Priority::Low),
        other => Err(unreadable("priority", format!("{other}"))),
    }
}

fn unreadable(what: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::Unreadable { what, reason: reason.to_string() }
}
