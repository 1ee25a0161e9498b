//! `GET …/requests/{id}/status`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use scumble_api::{LogLine, Metrics, QueueStatus, Status};
use scumble_store::{Event, EventKind, JobSummary, Level, State};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Urls;
use crate::addressing::Caller;
use crate::answer::{Refusal, about};
use crate::state::AppState;

/// `?logs=…`.
#[derive(Deserialize)]
pub(in crate::routes) struct StatusQuery {
    logs: Option<String>,
}

impl StatusQuery {
    /// JavaScript sends 1 or 0, Python true or false.
    pub(super) fn wants_logs(&self) -> bool {
        self.logs.as_deref().is_some_and(|v| matches!(v, "1" | "true" | "True"))
    }
}

/// 202 until the request has ended, then 200.
pub(super) async fn status(
    state: &AppState,
    caller: &Caller,
    job: JobSummary,
    logs: bool,
) -> Result<Response, Refusal> {
    let logs = match logs {
        true => Some(lines(state.store.events(job.id, 0).await?)),
        false => None,
    };
    let answer = describe(state, caller, &job, logs).await?;
    let code = if answer.status == Status::Completed { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(about(job.id, (code, Json(answer)).into_response()))
}

/// How a request stands, with these lines of its log.
pub(super) async fn describe(
    state: &AppState,
    caller: &Caller,
    job: &JobSummary,
    logs: Option<Vec<LogLine>>,
) -> scumble_store::Result<QueueStatus> {
    let urls = Urls::of(job.id, &job.endpoint, caller);
    let status = word(job.state);
    let queue_position = match status {
        // claimed since we read the job: it is next
        Status::InQueue => Some(state.store.position(job.id).await?.unwrap_or(0)),
        Status::InProgress | Status::Completed => None,
    };
    Ok(QueueStatus {
        status,
        request_id: job.id.to_string(),
        response_url: urls.response,
        status_url: urls.status,
        cancel_url: urls.cancel,
        queue_position,
        logs,
        metrics: Metrics { inference_time: job.inference_ms.map(|ms| ms as f64 / 1000.0) },
        error: job.error.clone(),
        error_type: job.error_type.clone(),
    })
}

/// What callers see of these events.
pub(super) fn lines(events: Vec<Event>) -> Vec<LogLine> {
    events.into_iter().filter_map(line).collect()
}

/// fal's word for a state.
fn word(state: State) -> Status {
    match state {
        State::Queued => Status::InQueue,
        State::Leased | State::Running => Status::InProgress,
        State::Done | State::Failed | State::Cancelled => Status::Completed,
    }
}

/// What the log says of an event; states have words of their own.
fn line(event: Event) -> Option<LogLine> {
    let (level, message) = match event.kind {
        EventKind::Log { level, message } => (level, message),
        EventKind::Progress { stage, done, total } => (Level::Info, format!("{stage} {done}/{total}")),
        EventKind::State { .. } | EventKind::Preview { .. } | EventKind::Submitted { .. } => return None,
    };
    Some(LogLine { message, level: level.as_str().into(), source: "USER", timestamp: iso(event.at_ms) })
}

fn iso(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_default()
}
