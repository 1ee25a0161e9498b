//! Errors as fal's clients read them.
//!
//! Inner layers know no status codes; they meet the wire here. Two envelopes exist: a list of [`Problem`]s for input
//! that a model cannot take, and a sentence with an [`ErrorType`] for everything before and around the model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cut::ECHO_BYTES;

/// Where the types of problems are explained.
const DOCS: &str = "https://docs.fal.ai/errors/#";

/// How deep what was given may be nested to be repeated. Readers of JSON stop somewhere, our own at 128, and the problem
/// around it has some depth of its own.
const DEPTH_MAX: usize = 64;

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Where: `body`, then field names.
    pub loc: Vec<Value>,
    /// For people.
    pub msg: String,
    /// For programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its explanation.
    pub url: String,
    /// The limits that were broken.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub ctx: Map<String, Value>,
    /// What was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<Value>,
}

impl Problem {
    /// A problem at `body.<path>`; a number in the path is a place in a list.
    pub fn new(path: &[&str], kind: &str, msg: impl Into<String>) -> Self {
        let step = |step: &&str| step.parse::<u32>().map_or_else(|_| Value::from(*step), Value::from);
        let loc = std::iter::once(Value::from("body")).chain(path.iter().map(step)).collect();
        Self { loc, msg: msg.into(), kind: kind.into(), url: format!("{DOCS}{kind}"), ctx: Map::new(), input: None }
    }

    /// With a limit.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.ctx.insert(key.into(), value.into());
        self
    }

    /// With what was given, unless that is long, or nested so deep that nobody could read the answer.
    #[must_use]
    pub fn given(mut self, input: &Value) -> Self {
        self.input = (is_shallow(input, DEPTH_MAX) && room(input, ECHO_BYTES).is_some()).then(|| input.clone());
        self
    }

    /// The last part of `loc`, such as a field's name.
    pub fn field(&self) -> &str {
        self.loc.last().and_then(Value::as_str).unwrap_or("body")
    }
}

/// Whether a value is nested no deeper than this.
fn is_shallow(value: &Value, depth: usize) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => return true,
    };
    depth.checked_sub(1).is_some_and(|depth| inner.all(|value| is_shallow(value, depth)))
}

/// What is left of so many bytes once a value is written, about; `None` where it is longer. It looks no further than that.
fn room(value: &Value, left: usize) -> Option<usize> {
    match value {
        Value::String(text) => left.checked_sub(text.len() + 2),
        Value::Array(items) => {
            items.iter().try_fold(left.checked_sub(2)?, |left, item| room(item, left.checked_sub(1)?))
        }
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.try_fold(left.checked_sub(2)?, |left, (name, value)| room(value, left.checked_sub(name.len() + 4)?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => left.checked_sub(8),
    }
}

/// The documented types of errors before and around a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The call is malformed, or asks for what this server cannot do.
    BadRequest,
    /// The request did not start in the time that the caller gave it.
    RequestTimeout,
    /// The caller hung up.
    ClientDisconnected,
    /// The caller cancelled.
    ClientCancelled,
    /// Too many requests at once.
    ConcurrentRequestsLimit,
    /// The runner has no room for the request now, such as memory.
    RunnerSchedulingFailure,
    /// The runner cannot be reached.
    RunnerConnectionError,
    /// The runner did not get ready in time.
    StartupTimeout,
    /// The model failed.
    RunnerServerError,
    /// The worker was lost too often while it ran this request.
    RunnerDisconnected,
    /// A mistake of ours.
    InternalError,
}

impl ErrorType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::RequestTimeout,
        Self::ClientDisconnected,
        Self::ClientCancelled,
        Self::ConcurrentRequestsLimit,
        Self::RunnerSchedulingFailure,
        Self::RunnerConnectionError,
        Self::StartupTimeout,
        Self::RunnerServerError,
        Self::RunnerDisconnected,
        Self::InternalError,
    ];

    /// What it means here, and what its caller can do.
    pub const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest => (
                "the call is malformed, or asks for what this server cannot do: an endpoint without weights, or without its \
                 maker's key",
                "the message says what to change, or what the owner has to set up",
            ),
            Self::RequestTimeout => (
                "it did not start in the time of `X-Fal-Request-Timeout`",
                "give it more time, or come when less is waiting",
            ),
            Self::ClientDisconnected => {
                ("the caller of a direct call hung up, and it was cancelled", "keep the connection, or use the queue")
            }
            Self::ClientCancelled => ("the caller, or the server's owner, has cancelled it", "nothing"),
            Self::ConcurrentRequestsLimit => (
                "too many requests wait or run at once, of this key or in all",
                "wait and try again, or use the queue instead of direct calls",
            ),
            Self::RunnerSchedulingFailure => (
                "there is no room now: memory, space on the disk, connections; or the server is being stopped",
                "try again after `Retry-After`; if it lasts, the owner finds the reason in the server's log",
            ),
            Self::RunnerConnectionError => ("what draws cannot be reached now", "try again"),
            Self::StartupTimeout => ("the model did not get ready in time", "try again: it may be ready by then"),
            Self::RunnerServerError => (
                "the model or its maker failed on this request",
                "change the input; if the message does not help, the owner finds the reason in the server's log",
            ),
            Self::RunnerDisconnected => (
                "the worker was lost several times while it ran this request, so it is not tried again",
                "tell the owner: `scumble jobs show ID` has what happened",
            ),
            Self::InternalError => (
                "a mistake of the server, or its database or files cannot be used",
                "tell the owner: the server's log says why",
            ),
        }
    }

    /// Name on the wire and HTTP status.
    pub const fn row(self) -> (&'static str, u16) {
        match self {
            Self::BadRequest => ("bad_request", 400),
            Self::RequestTimeout => ("request_timeout", 504),
            Self::ClientDisconnected => ("client_disconnected", 499),
            Self::ClientCancelled => ("client_cancelled", 499),
            Self::ConcurrentRequestsLimit => ("concurrent_requests_limit", 429),
            Self::RunnerSchedulingFailure => ("runner_scheduling_failure", 503),
            Self::RunnerConnectionError => ("runner_connection_error", 503),
            Self::StartupTimeout => ("startup_timeout", 504),
            Self::RunnerServerError => ("runner_server_error", 500),
            // 503 in fal's table; a poison job must not be retried by clients, so it ends as a server error here
            Self::RunnerDisconnected => ("runner_disconnected", 500),
            Self::InternalError => ("internal_error", 500),
        }
    }

    /// Whether the same request may succeed a little later.
    pub const fn passes(self) -> bool {
        matches!(
            self,
            Self::ConcurrentRequestsLimit
                | Self::RunnerSchedulingFailure
                | Self::RunnerConnectionError
                | Self::StartupTimeout
        )
    }
}

/// Whether the same request may succeed later, in both of the words that fal has for it.
pub fn retryable(yes: bool) -> [(&'static str, String); 2] {
    [("x-fal-retryable", yes.to_string()), ("x-fal-needs-retry", u8::from(yes).to_string())]
}

/// A complete answer: status, headers, body.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON body, always with `detail`.
    pub body: Value,
    /// Headers beside the usual ones.
    pub headers: Vec<(&'static str, String)>,
}

impl ErrorAnswer {
    /// 422 with a list of problems; never retried, never billed.
    pub fn invalid(problems: &[Problem]) -> Self {
        let mut headers = retryable(false).to_vec();
        headers.push(("x-fal-billable-units", "0".into()));
        Self { status: 422, body: json!({ "detail": problems }), headers }
    }

    /// A typed error with a sentence.
    pub fn typed(kind: ErrorType, detail: impl Into<String>) -> Self {
        let (name, status) = kind.row();
        let mut headers = vec![("x-fal-error-type", name.to_owned())];
        headers.extend(retryable(kind.passes()));
        if kind == ErrorType::RequestTimeout {
            headers.push(("x-fal-request-timeout-type", "user".into()));
        }
        Self { status, body: json!({ "detail": detail.into(), "error_type": name }), headers }
    }

    /// A bare sentence, as fal answers where no model is concerned: 401, 403, 404.
    pub fn plain(status: u16, detail: impl Into<String>) -> Self {
        Self { status, body: json!({ "detail": detail.into() }), headers: Vec::new() }
    }

    /// No endpoint of this id.
    pub fn unknown_endpoint(id: &str) -> Self {
        Self::plain(404, format!("Application \"{id}\" not found"))
    }

    /// The body is no JSON.
    pub fn bad_json(reason: &str) -> Self {
        let problem = Problem::new(&[], "json_invalid", "JSON decode error").with("error", reason);
        Self::invalid(&[problem])
    }

    /// One readable line.
    pub fn message(&self) -> String {
        self.message_with(&|path| path.join("."))
    }

    /// The same, with the fields' paths as `named` writes them. What is about no field stands alone.
    pub(crate) fn message_with(&self, named: &dyn Fn(&[String]) -> String) -> String {
        match &self.body["detail"] {
            Value::String(text) => text.clone(),
            Value::Array(problems) => {
                let line = |p: &Value| {
                    let path = p["loc"].as_array().map_or(&[][..], Vec::as_slice);
                    let word = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                    let path: Vec<String> = path.iter().skip(1).map(word).collect();
                    let msg = p["msg"].as_str().unwrap_or_default();
                    if path.is_empty() { msg.to_owned() } else { format!("{}: {msg}", named(&path)) }
                };
                problems.iter().map(line).collect::<Vec<_>>().join("; ")
            }
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_can_be_read_however_deep_the_input_was() {
        let nested = |depth| (1..depth).fold(json!([]), |inner, _| json!({ "a": [1], "b": inner }));
        for (depth, repeated) in [(1, true), (DEPTH_MAX, true), (DEPTH_MAX + 1, false), (127, false)] {
            let given = nested(depth);
            let answer = ErrorAnswer::invalid(&[Problem::new(&["prompt"], "missing", "Field required").given(&given)]);
            let read: Value = serde_json::from_str(&answer.body.to_string()).expect("JSON that can be read");
            assert_eq!(read["detail"][0].get("input"), repeated.then_some(&given), "{depth}");
        }
    }

    #[test]
    fn what_is_about_no_field_stands_alone() {
        let problems = [Problem::new(&[], "t", "No."), Problem::new(&["a", "0", "b"], "t", "Not so.")];
        assert_eq!(ErrorAnswer::invalid(&problems).message(), "No.; a.0.b: Not so.");
    }

    #[test]
    fn what_is_long_is_not_repeated() {
        let half = "x".repeat(ECHO_BYTES / 2);
        for (given, repeated) in [
            (json!(half), true),
            (json!([half, 1, true]), true),
            (json!([half, half]), false),
            (json!({ "a": half, "b": { "c": half } }), false),
            (json!({ half.repeat(2): 1 }), false),
            (json!(vec![0; ECHO_BYTES]), false),
        ] {
            let problem = Problem::new(&["prompt"], "missing", "Field required").given(&given);
            assert_eq!(problem.input.is_some(), repeated, "{problem:?}");
            let written = serde_json::to_string(&problem).expect("JSON");
            assert!(written.len() < 2 * ECHO_BYTES, "{}", written.len());
        }
    }

    #[test]
    fn every_refusal_says_in_both_words_whether_to_try_again() {
        let header = |answer: &ErrorAnswer, name: &str| {
            answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        for (answer, retryable, needed) in [
            (ErrorAnswer::invalid(&[]), "false", "0"),
            (ErrorAnswer::typed(ErrorType::BadRequest, "no"), "false", "0"),
            (ErrorAnswer::typed(ErrorType::InternalError, "no"), "false", "0"),
            (ErrorAnswer::typed(ErrorType::ConcurrentRequestsLimit, "later"), "true", "1"),
            (ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, "later"), "true", "1"),
        ] {
            assert_eq!(header(&answer, "x-fal-retryable").as_deref(), Some(retryable), "{answer:?}");
            assert_eq!(header(&answer, "x-fal-needs-retry").as_deref(), Some(needed), "{answer:?}");
        }
    }
}
