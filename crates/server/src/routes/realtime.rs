//! `GET /run/{id}/realtime`: a WebSocket on which every message is a job.
//!
//! Binary messages are MessagePack and get MessagePack, text is JSON and gets JSON. What is not a result is a notice,
//! and notices are JSON text in either case: clients tell the two apart by that.
//!
//! A wrong input costs its sender an error notice and nothing else. A failure of ours ends the session after the
//! notice, as fal's runners do: clients connect anew with their next input.

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use scumble_api::{Endpoint, FILE_SCHEME, INLINE_SCHEME, read_value};
use scumble_files::Files;
use scumble_store::Outcome;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::addressing::Caller;
use crate::answer::{Refusal, resolve_urls};
use crate::auth::{Authorized, wants_websocket};
use crate::messages::{from_msgpack, to_msgpack};
use crate::session::{Answer, Input, Overflow, Rules, serve};
use crate::socket::Upgrade;
use crate::state::AppState;
use crate::submit::{Call, Origin, endpoint, run_to_outcome};

/// The most inputs that may wait, and how many may where nothing is said.
const BUFFERING_MAX: usize = 60;
/// How many bytes of them may: what is of interest is the latest.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The id of the endpoint that a path opens a session of: the path itself, or what stands before `/realtime`.
pub(crate) fn endpoint_of(path: &str) -> &str {
    let path = path.trim_matches('/');
    path.strip_suffix("/realtime").unwrap_or(path)
}

/// A request for a WebSocket, where it is one.
pub(super) struct Handshake(pub(super) Option<Opening>);

/// What such a request says.
pub(super) struct Opening {
    upgrade: Upgrade,
    query: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Handshake {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        if !wants_websocket(&parts.headers) {
            return Ok(Self(None));
        }
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(IntoResponse::into_response)?;
        let upgrade = Upgrade::from_request_parts(parts, state).await?;
        Ok(Self(Some(Opening { upgrade, query })))
    }
}

/// Checks everything that can be checked before the upgrade, because afterwards nobody sees a status code.
pub(super) fn open(
    state: AppState,
    caller: Caller,
    authorized: Authorized,
    path: &str,
    opening: Opening,
) -> Result<Response, Refusal> {
    let Opening { upgrade, query } = opening;
    state.stop.check()?;
    let endpoint = endpoint(endpoint_of(path))?;
    let rules = Rules {
        waiting: buffering(&query)?,
        bytes: state.config.body_bytes.min(WAITING_BYTES),
        overflow: Overflow::DropOldest,
        idle: state.config.realtime_idle,
        farewell: Some(notice("TIMEOUT", "no inputs, reconnect when needed!", None)),
        phases: state.stop.hear(),
    };
    let (budget, max) = (state.config.memory.clone(), state.config.body_bytes);
    let session = Session { state, caller, authorized, endpoint };
    Ok(upgrade.open(&budget, max, move |socket| {
        serve(socket, rules, move |input| {
            let session = session.clone();
            Box::pin(async move { session.answer(&input).await })
        })
    }))
}

/// `max_buffering`: how many inputs may wait before the oldest of them is dropped.
fn buffering(query: &[(String, String)]) -> Result<usize, Refusal> {
    let Some((_, text)) = query.iter().find(|(name, _)| name == "max_buffering") else { return Ok(BUFFERING_MAX) };
    let number = text.parse().ok().filter(|n| (1..=BUFFERING_MAX).contains(n));
    number.ok_or_else(|| Refusal::plain(400, &format!("max_buffering must be 1 to {BUFFERING_MAX}, got {text}")))
}

/// What a session knows.
#[derive(Clone)]
struct Session {
    state: AppState,
    caller: Caller,
    authorized: Authorized,
    endpoint: &'static Endpoint,
}

impl Session {
    /// Runs one input to its answer.
    async fn answer(self, input: &Input) -> Answer {
        match self.authorized.still(&self.state).await {
            Ok(true) => {}
            Ok(false) => return last(text(&json!({ "status": "error", "error": "Unauthorized" }))),
            Err(error) => {
                tracing::error!(%error, "the database refused");
                return last(notice("INTERNAL_ERROR", "The server cannot reach its database; its log says why", None));
            }
        }
        let mut body = match read(input) {
            Ok(body) => body,
            Err(reason) => return only(notice("INTERNAL_ERROR", &reason, None)),
        };
        // old clients match answers with it; it is no field of any endpoint
        let request_id = body.as_object_mut().and_then(|fields| fields.shift_remove("request_id"));
        let call = Call::new(self.endpoint, body);
        let (caller, headers) = (&self.caller, HeaderMap::new());
        let from = Origin { state: &self.state, caller, authorized: &self.authorized, headers: &headers };
        let (_, outcome) = run_to_outcome(from, Ok(call)).await;
        if let Some(answer) = failure(&outcome, request_id.as_ref()) {
            return answer;
        }
        match self.result(outcome.body, request_id, input.is_text).await {
            Ok(message) => only(message),
            Err(error) => {
                tracing::error!(%error, "a result could not be written");
                last(notice("INTERNAL_ERROR", "The result could not be written", None))
            }
        }
    }

    /// The output in the coding of its input. MessagePack carries the pictures themselves beside their URLs.
    async fn result(
        &self,
        mut body: Value,
        request_id: Option<Value>,
        as_text: bool,
    ) -> Result<Message, axum::BoxError> {
        let files = &self.state.files;
        let contents = if as_text { Vec::new() } else { contents(&body, files).await? };
        resolve_urls(&mut body, files, &self.caller).await?;
        if let (Value::Object(fields), Some(request_id)) = (&mut body, request_id) {
            fields.insert("request_id".into(), request_id);
        }
        match as_text {
            true => Ok(text(&body)),
            false => Ok(Message::Binary(to_msgpack(&body, &contents)?.into())),
        }
    }
}

/// The input of a message.
pub(crate) fn read(input: &Input) -> Result<Value, String> {
    let body = match input.is_text {
        true => read_value(&input.bytes).map_err(|e| format!("not a JSON input: {e}"))?,
        false => from_msgpack(&input.bytes)?,
    };
    match body {
        Value::Object(_) => Ok(body),
        _ => Err("an input is a map of fields and their values".into()),
    }
}

/// What an outcome without an output says.
fn failure(outcome: &Outcome, request_id: Option<&Value>) -> Option<Answer> {
    let reason = outcome.error.as_deref().unwrap_or("the request failed");
    match outcome.status {
        ..400 => None,
        400..500 => Some(only(notice("INTERNAL_ERROR", reason, request_id))),
        500.. => Some(last(notice("INTERNAL_ERROR", reason, request_id))),
    }
}

/// The bytes of an output's pictures, in their order; nothing where one of them is no file of ours.
async fn contents(body: &Value, files: &Files) -> scumble_files::Result<Vec<Bytes>> {
    let mut contents = Vec::new();
    for picture in body["images"].as_array().into_iter().flatten() {
        let url = picture["url"].as_str().unwrap_or_default();
        let path = url.strip_prefix(FILE_SCHEME).or_else(|| url.strip_prefix(INLINE_SCHEME));
        let Some(Ok(path)) = path.map(str::parse) else { return Ok(Vec::new()) };
        contents.push(files.get(&path, None).await?.bytes().await?);
    }
    Ok(contents)
}

fn notice(error: &str, reason: &str, request_id: Option<&Value>) -> Message {
    let mut notice = json!({ "type": "x-fal-error", "error": error, "reason": reason });
    if let Some(id) = request_id {
        notice["request_id"] = id.clone();
    }
    text(&notice)
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

fn only(message: Message) -> Answer {
    Answer { messages: vec![message], is_last: false }
}

fn last(message: Message) -> Answer {
    Answer { messages: vec![message], is_last: true }
}
