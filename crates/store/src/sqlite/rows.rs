//! From rows to types.

use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Count, Delivery, DeliveryAttempt, DeliveryState, Error, Event, FileRecord, Job, JobId, JobSummary, KeyRecord,
    Outcome, Priority, Result, SecretBytes, SecretRecord, State,
};

/// How priorities are stored: in the order of the queue.
pub(super) fn priority_number(priority: Priority) -> i64 {
    match priority {
        Priority::Normal => 0,
        Priority::Low => 1,
    }
}

pub(super) fn job(row: &Row<'_>) -> Result<Job> {
    let state = state(row)?;
    Ok(Job {
        id: job_id(row, "id")?,
        seq: row.get("seq")?,
        endpoint: row.get("endpoint")?,
        input: json(row, "input")?,
        key_id: row.get("key_id")?,
        priority: priority(row)?,
        start_by_ms: row.get("start_by_ms")?,
        not_before_ms: row.get("not_before_ms")?,
        webhook: row.get("webhook")?,
        hint: row.get("hint")?,
        keep_io: row.get("keep_io")?,
        options: json(row, "options")?,
        state,
        attempt: row.get("attempt")?,
        drained: row.get("drained")?,
        crashes: row.get("crashes")?,
        created_ms: row.get("created_ms")?,
        started_ms: row.get("started_ms")?,
        finished_ms: row.get("finished_ms")?,
        cancel_requested: !is_null(row, "cancel_outcome")?,
        outcome: if state.is_end() { Some(outcome(row)?) } else { None },
    })
}

/// A row of `summary.sql`. By number: statuses are asked for more often than anything else, and to look up the names of
/// columns takes longer than to find the row.
pub(super) fn summary(row: &Row<'_>) -> Result<JobSummary> {
    Ok(JobSummary {
        id: job_id_of(text_at(row, 0, "id")?)?,
        seq: row.get(1)?,
        endpoint: row.get(2)?,
        key_id: row.get(3)?,
        priority: priority_of(row.get(4)?)?,
        state: state_of(text_at(row, 5, "state")?)?,
        attempt: row.get(6)?,
        created_ms: row.get(7)?,
        started_ms: row.get(8)?,
        finished_ms: row.get(9)?,
        status: row.get::<_, Option<i64>>(10)?.map(|status| number("status", status)).transpose()?,
        error: row.get(11)?,
        error_type: row.get(12)?,
        inference_ms: row.get(13)?,
    })
}

pub(super) fn event(row: &Row<'_>, job_id: JobId) -> Result<Event> {
    Ok(Event {
        seq: row.get("seq")?,
        job_id,
        attempt: row.get("attempt")?,
        at_ms: row.get("at_ms")?,
        kind: json(row, "data")?,
    })
}

pub(super) fn count(row: &Row<'_>) -> Result<Count> {
    Ok(Count { endpoint: row.get("endpoint")?, state: state(row)?, jobs: number("jobs", row.get("jobs")?)? })
}

pub(super) fn delivery(row: &Row<'_>) -> Result<Delivery> {
    Ok(Delivery {
        id: row.get("id")?,
        job_id: job_id(row, "job_id")?,
        url: row.get("url")?,
        attempt: row.get("attempt")?,
        created_ms: row.get("created_ms")?,
    })
}

pub(super) fn delivery_state(row: &Row<'_>) -> Result<DeliveryState> {
    match text(row, "state")? {
        "pending" => Ok(DeliveryState::Pending),
        "delivered" => Ok(DeliveryState::Delivered),
        "failed" => Ok(DeliveryState::Failed),
        other => Err(unreadable("delivery state", format!("{other:?}"))),
    }
}

pub(super) fn delivery_attempt(row: &Row<'_>) -> Result<DeliveryAttempt> {
    Ok(DeliveryAttempt {
        at_ms: row.get("at_ms")?,
        duration_ms: row.get("duration_ms")?,
        status: row.get::<_, Option<i64>>("status")?.map(|status| number("status", status)).transpose()?,
        error: row.get("error")?,
    })
}

pub(super) fn key(row: &Row<'_>) -> Result<KeyRecord> {
    Ok(KeyRecord {
        id: row.get("id")?,
        label: row.get("label")?,
        created_ms: row.get("created_ms")?,
        last_used_ms: row.get("last_used_ms")?,
        revoked_ms: row.get("revoked_ms")?,
    })
}

pub(super) fn secret(row: &Row<'_>) -> Result<SecretRecord> {
    Ok(SecretRecord {
        id: row.get("id")?,
        purpose: row.get("purpose")?,
        value: SecretBytes::new(row.get::<_, Vec<u8>>("value")?),
        created_ms: row.get("created_ms")?,
    })
}

pub(super) fn file(row: &Row<'_>) -> Result<FileRecord> {
    Ok(FileRecord {
        path: row.get("path")?,
        job_id: if is_null(row, "job_id")? { None } else { Some(job_id(row, "job_id")?) },
        content_type: row.get("content_type")?,
        bytes: row.get("bytes")?,
        created_ms: row.get("created_ms")?,
        expires_ms: row.get("expires_ms")?,
        owner: row.get("owner")?,
        access: json(row, "access")?,
    })
}

pub(super) fn state(row: &Row<'_>) -> Result<State> {
    state_of(text(row, "state")?)
}

pub(super) fn state_of(name: &str) -> Result<State> {
    State::from_name(name).ok_or_else(|| unreadable("state", format!("{name:?}")))
}

pub(super) fn job_id(row: &Row<'_>, column: &'static str) -> Result<JobId> {
    job_id_of(text(row, column)?)
}

pub(super) fn job_id_of(text: &str) -> Result<JobId> {
    JobId::from_str(text).map_err(|error| unreadable("job id", error))
}

pub(super) fn is_null(row: &Row<'_>, column: &'static str) -> Result<bool> {
    Ok(row.get_ref(column)? == ValueRef::Null)
}

/// What the JSON in a column says.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Result<T> {
    from_json(column, text(row, column)?)
}

/// What a JSON text says.
pub(super) fn from_json<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| unreadable(what, error))
}

/// The JSON text of a value that is about to be stored.
pub(super) fn to_json(what: &'static str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| unreadable(what, error))
}

/// A count or code out of SQLite's one kind of integer.
pub(super) fn number<T: TryFrom<i64, Error: std::fmt::Display>>(what: &'static str, number: i64) -> Result<T> {
    T::try_from(number).map_err(|error| unreadable(what, error))
}

pub(super) fn unreadable(what: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::Unreadable { what, reason: reason.to_string() }
}

/// The text in a column, not copied.
pub(super) fn text<'r>(row: &'r Row<'_>, column: &'static str) -> Result<&'r str> {
    row.get_ref(column)?.as_str().map_err(|error| unreadable(column, error))
}

/// The text in the column of this number, not copied.
pub(super) fn text_at<'r>(row: &'r Row<'_>, number: usize, what: &'static str) -> Result<&'r str> {
    row.get_ref(number)?.as_str().map_err(|error| unreadable(what, error))
}

pub(super) fn outcome(row: &Row<'_>) -> Result<Outcome> {
    Ok(Outcome {
        status: number("status", row.get("status")?)?,
        body: json(row, "body")?,
        headers: json(row, "headers")?,
        error: row.get("error")?,
        error_type: row.get("error_type")?,
        inference_ms: row.get("inference_ms")?,
    })
}

fn priority(row: &Row<'_>) -> Result<Priority> {
    priority_of(row.get("priority")?)
}

fn priority_of(number: i64) -> Result<Priority> {
    match number {
        0 => Ok(Priority::Normal),
        1 => Ok(Priority::Low),
        other => Err(unreadable("priority", format!("{other}"))),
    }
}
