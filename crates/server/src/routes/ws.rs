//! `GET /ws/{id}`: HTTP over a WebSocket, as fal's command line speaks it. Every message is a direct call; its answer
//! is a start, the body, and an end.

use std::time::Instant;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use scumble_store::{JobId, Outcome};
use serde_json::{Map, Value, json};
use tungstenite::Message;

use crate::addressing::Caller;
use crate::answer::{Refusal, resolve_urls};
use crate::auth::Authorized;
use crate::session::{Answer, Input, Overflow, Rules, serve};
use crate::socket::Upgrade;
use crate::state::AppState;
use crate::submit::{Call, Origin, endpoint, run_to_outcome};

/// How many calls may wait on one connection.
const WAITING: usize = 60;

/// Opens the connection.
pub(super) async fn open(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    authorized: Authorized,
    Path(id): Path<String>,
    upgrade: Result<Upgrade, Response>,
) -> Result<Response, Refusal> {
    let Ok(upgrade) = upgrade else {
        return Err(Refusal::plain(400, "This path is for WebSockets, which begin with a GET over HTTP/1.1"));
    };
    let id = endpoint(&id)?.id;
    state.stop.check()?;
    let rules = Rules {
        waiting: WAITING,
        bytes: state.config.body_bytes,
        overflow: Overflow::Close,
        idle: state.config.realtime_idle,
        farewell: None,
        phases: state.stop.hear(),
    };
    let (budget, max) = (state.config.memory.clone(), rules.bytes);
    let session = Session { state, caller, authorized, id };
    Ok(upgrade.open(&budget, max, move |socket| {
        serve(socket, rules, move |input| {
            let session = session.clone();
            Box::pin(async move { session.answer(input).await })
        })
    }))
}

/// What a connection knows.
#[derive(Clone)]
struct Session {
    state: AppState,
    caller: Caller,
    authorized: Authorized,
    /// The endpoint's.
    id: &'static str,
}

impl Session {
    async fn answer(self, input: Input) -> Answer {
        let began = Instant::now();
        let call = match self.authorized.still(&self.state).await {
            Ok(true) => Call::read(self.id, &input.bytes),
            Ok(false) => Err(Refusal::plain(401, "This key is no longer valid here")),
            Err(error) => Err(error.into()),
        };
        let (caller, headers) = (&self.caller, HeaderMap::new());
        let from = Origin { state: &self.state, caller, authorized: &self.authorized, headers: &headers };
        let (job, outcome) = run_to_outcome(from, call).await;
        let outcome = self.with_urls(outcome).await;
        Answer { messages: messages(job, outcome, began), is_last: false }
    }

    async fn with_urls(&self, mut outcome: Outcome) -> Outcome {
        if outcome.status >= 400 {
            return outcome;
        }
        match resolve_urls(&mut outcome.body, &self.state.files, &self.caller).await {
            Ok(()) => outcome,
            Err(error) => Outcome::from(Refusal::from(error).answer()),
        }
    }
}

/// An outcome as frames. The body is binary, so that it cannot be taken for a start or an end.
fn messages(job: Option<JobId>, outcome: Outcome, began: Instant) -> Vec<Message> {
    let Outcome { status, body, headers, .. } = outcome;
    let id = job.unwrap_or_else(JobId::random).to_string();
    let headers: Map<String, Value> = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
    let mut start = json!({ "type": "start", "request_id": id, "status": status, "headers": headers });
    start["headers"]["content-type"] = "application/json".into();
    let seconds = began.elapsed().as_secs_f64();
    let end = json!({ "type": "end", "request_id": id, "status": status, "time_to_first_byte_seconds": seconds });
    let text = |value: Value| Message::Text(value.to_string().into());
    vec![text(start), Message::Binary(Bytes::from(body.to_string())), text(end)]
}
