//! What the queue answers.

use serde::Serialize;

/// The answer to a submit.
#[derive(Clone, Debug, Serialize)]
pub struct Submitted {
    /// Always `IN_QUEUE`.
    pub status: Status,
    /// The request's id.
    pub request_id: String,
    /// Where its result will be.
    pub response_url: String,
    /// Where its status is.
    pub status_url: String,
    /// Where it can be cancelled.
    pub cancel_url: String,
    /// Requests ahead of it.
    pub queue_position: u64,
    /// Always null here.
    pub logs: Option<Vec<LogLine>>,
    /// Always empty here.
    pub metrics: Metrics,
}

/// fal's three words; clients know no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Waiting.
    InQueue,
    /// At work.
    InProgress,
    /// Ended, however.
    Completed,
}

/// The answer to a status call.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStatus {
    /// Where the request stands.
    pub status: Status,
    /// Its id.
    pub request_id: String,
    /// Where its result is.
    pub response_url: String,
    /// This address.
    pub status_url: String,
    /// Where it can be cancelled.
    pub cancel_url: String,
    /// Requests ahead of it; while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// Lines if they were asked for, else null: the key must exist, or the Python client fails.
    pub logs: Option<Vec<LogLine>>,
    /// How long it ran; once it has.
    pub metrics: Metrics,
    /// What went wrong, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
}

/// One line of a request's log.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// The text.
    pub message: String,
    /// `INFO`, `WARN` or `ERROR`.
    pub level: String,
    /// Always `USER`.
    pub source: &'static str,
    /// ISO 8601.
    pub timestamp: String,
}

/// Measurements of a request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Metrics {
    /// Seconds that the model ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_time: Option<f64>,
}
