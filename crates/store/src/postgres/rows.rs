//! From rows to types and back.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{
    Count, Delivery, DeliveryAttempt, DeliveryState, Error, Event, FileRecord, Job, JobId, JobSummary, KeyRecord,
    Outcome, Priority, Result, SecretBytes, SecretRecord, State,
};

/// How priorities are stored: in the order of the queue.
pub(super) fn priority_number(priority: Priority) -> i16 {
    match priority {
        Priority::Normal => 0,
        Priority::Low => 1,
    }
}

/// The text as PostgreSQL can hold it: everything but zeros, for which the sign for what is unreadable stands.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// What a value is as JSON. It escapes zeros.
pub(super) fn to_json(what: &'static str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| unreadable(what, error))
}

pub(super) fn job(row: &PgRow) -> Result<Job> {
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
        cancel_requested: row.try_get("cancel_requested")?,
        outcome: if state.is_end() { Some(outcome(row)?) } else { None },
    })
}

pub(super) fn summary(row: &PgRow) -> Result<JobSummary> {
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
        status: maybe_status(row)?,
        error: row.try_get("error")?,
        error_type: row.try_get("error_type")?,
        inference_ms: row.try_get("inference_ms")?,
    })
}

pub(super) fn event(row: &PgRow, job_id: JobId) -> Result<Event> {
    Ok(Event {
        seq: row.try_get("seq")?,
        job_id,
        attempt: row.try_get("attempt")?,
        at_ms: row.try_get("at_ms")?,
        kind: json(row, "data")?,
    })
}

pub(super) fn count(row: &PgRow) -> Result<Count> {
    Ok(Count {
        endpoint: row.try_get("endpoint")?,
        state: state(row)?,
        jobs: number("jobs", row.try_get::<i64, _>("jobs")?)?,
    })
}

pub(super) fn delivery(row: &PgRow) -> Result<Delivery> {
    Ok(Delivery {
        id: row.try_get("id")?,
        job_id: job_id(row, "job_id")?,
        url: row.try_get("url")?,
        attempt: row.try_get("attempt")?,
        created_ms: row.try_get("finished_ms")?,
    })
}

pub(super) fn delivery_state(row: &PgRow) -> Result<DeliveryState> {
    match row.try_get("state")? {
        "pending" => Ok(DeliveryState::Pending),
        "delivered" => Ok(DeliveryState::Delivered),
        "failed" => Ok(DeliveryState::Failed),
        other => Err(unreadable("state of a delivery", format!("{other:?}"))),
    }
}

pub(super) fn delivery_attempt(row: &PgRow) -> Result<DeliveryAttempt> {
    Ok(DeliveryAttempt {
        at_ms: row.try_get("at_ms")?,
        duration_ms: row.try_get("duration_ms")?,
        status: maybe_status(row)?,
        error: row.try_get("error")?,
    })
}

pub(super) fn key(row: &PgRow) -> Result<KeyRecord> {
    Ok(KeyRecord {
        id: row.try_get("id")?,
        label: row.try_get("label")?,
        created_ms: row.try_get("created_ms")?,
        last_used_ms: row.try_get("last_used_ms")?,
        revoked_ms: row.try_get("revoked_ms")?,
    })
}

pub(super) fn secret(row: &PgRow) -> Result<SecretRecord> {
    Ok(SecretRecord {
        id: row.try_get("id")?,
        purpose: row.try_get("purpose")?,
        value: SecretBytes::new(row.try_get::<Vec<u8>, _>("value")?),
        created_ms: row.try_get("created_ms")?,
    })
}

pub(super) fn file(row: &PgRow) -> Result<FileRecord> {
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

pub(super) fn job_id(row: &PgRow, column: &'static str) -> Result<JobId> {
    let text: &str = row.try_get(column)?;
    JobId::from_str(text).map_err(|error| unreadable(column, error))
}

/// A count or code out of one of PostgreSQL's integers, which all have a sign.
pub(super) fn number<T, N>(what: &'static str, number: N) -> Result<T>
where
    T: TryFrom<N, Error: std::fmt::Display>,
{
    T::try_from(number).map_err(|error| unreadable(what, error))
}

pub(super) fn unreadable(what: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::Unreadable { what, reason: reason.to_string() }
}

pub(super) fn outcome(row: &PgRow) -> Result<Outcome> {
    Ok(Outcome {
        status: number("status", row.try_get::<i32, _>("status")?)?,
        body: json(row, "body")?,
        headers: json(row, "headers")?,
        error: row.try_get("error")?,
        error_type: row.try_get("error_type")?,
        inference_ms: row.try_get("inference_ms")?,
    })
}

fn maybe_status(row: &PgRow) -> Result<Option<u16>> {
    row.try_get::<Option<i32>, _>("status")?.map(|status| number("status", status)).transpose()
}

fn state(row: &PgRow) -> Result<State> {
    let name: &str = row.try_get("state")?;
    State::from_name(name).ok_or_else(|| unreadable("state", format!("{name:?}")))
}

fn priority(row: &PgRow) -> Result<Priority> {
    match row.try_get::<i16, _>("priority")? {
        0 => Ok(Priority::Normal),
        1 => Ok(Priority::Low),
        other => Err(unreadable("priority", other)),
    }
}

/// What the JSON in a column says.
pub(super) fn json<T: DeserializeOwned>(row: &PgRow, column: &'static str) -> Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}
