//! Direct calls: the answer is the output.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use scumble_api::ErrorAnswer;
use serde_json::{Map, Value};

use super::realtime::{self, Handshake};
use super::stream;
use crate::addressing::{Caller, Service};
use crate::answer::{Refusal, about, outcome};
use crate::auth::Authorized;
use crate::middleware::wrong_method;
use crate::pages::ForPrograms;
use crate::sent::Sent;
use crate::state::AppState;
use crate::submit::{Call, Origin, endpoint, too_many};
use crate::wait::Wait;
use crate::watch::What;

/// `POST /run/{id}` and `POST /run/{id}/stream`.
pub(super) async fn with_body(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Sent { by: authorized, body }: Sent<Authorized>,
) -> Result<Response, Refusal> {
    let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
    // the body is gone before the answer is waited for
    answer(from, &id, move |id| Call::read(id, &body)).await
}

/// `GET /run/{id}?prompt=…`: the query is the input, unless a WebSocket is asked for.
pub(super) async fn with_query(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    authorized: Authorized,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    (method, headers): (Method, HeaderMap),
    Handshake(opening): Handshake,
) -> Result<Response, Refusal> {
    if method == Method::HEAD {
        return would_answer(&id);
    }
    if let Some(opening) = opening {
        return realtime::open(state, caller, authorized, &id, opening);
    }
    let input = Value::Object(query.into_iter().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>());
    let call = |id: &str| Ok(Call { body: input, ..Call::read(id, &Bytes::new())? });
    let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
    answer(from, &id, call).await
}

/// `HEAD /run/{id}`: whether there is something to call. It runs nothing, whatever its query says.
fn would_answer(path: &str) -> Result<Response, Refusal> {
    let (id, content_type) = match stream::endpoint_of(path) {
        Some(id) => (id, "text/event-stream"),
        None => (path, "application/json"),
    };
    endpoint(id)?;
    Ok([(header::CONTENT_TYPE, content_type)].into_response())
}

/// `/run`, `/queue` and `/ws` alone.
pub(super) async fn without_id(uri: Uri) -> Refusal {
    let service = uri.path().trim_matches('/');
    let detail = format!(
        "The endpoint's id is missing: expected /{service}/ and an id such as fal-ai/flux/schnell; GET /v1/models lists \
         all of them"
    );
    Refusal::plain(404, &detail)
}

/// `POST /{id}`, or a WebSocket there, on a host that is none of fal's. What addressing has put under a service's prefix and no route took is
/// not meant as an endpoint.
pub(super) async fn bare(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    (method, uri): (Method, Uri),
    headers: HeaderMap,
    _: ForPrograms,
    Handshake(opening): Handshake,
    Sent { by: authorized, body }: Sent<Authorized>,
) -> Result<Response, Refusal> {
    if Service::has_path(uri.path()) {
        return Err(no_such_page(&uri));
    }
    if let Some(opening) = opening {
        return realtime::open(state, caller, authorized, uri.path(), opening);
    }
    if method != Method::POST {
        let id = stream::endpoint_of(uri.path()).unwrap_or_else(|| uri.path());
        return Err(if endpoint(id).is_ok() { wrong_method("POST") } else { no_such_page(&uri) });
    }
    let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
    answer(from, uri.path(), move |id| Call::read(id, &body)).await
}

fn no_such_page(uri: &Uri) -> Refusal {
    ErrorAnswer::plain(404, format!("Path {} not found", uri.path())).into()
}

/// The output, at once or as a stream. The path decides, never `Accept`: proxies rewrite that.
async fn answer(
    from: Origin<'_>,
    path: &str,
    call: impl FnOnce(&str) -> Result<Call, Refusal>,
) -> Result<Response, Refusal> {
    match stream::endpoint_of(path) {
        Some(id) => stream::stream(from, call(id)?).await,
        None => run(from, call(path)?).await,
    }
}

async fn run(from: Origin<'_>, call: Call) -> Result<Response, Refusal> {
    let Origin { state, caller, .. } = from;
    let _place = state.direct.clone().try_acquire_owned().map_err(|_| too_many())?;
    // from before the job exists, so that its end cannot be missed
    let end = state.watches.watch(call.id, What::End);
    let repeatable = from.headers.contains_key("idempotency-key");
    let job = call.run(from).await?.job;
    let mut wait = Wait::new(state, job.id);
    if repeatable {
        // the caller may come back for it
        wait.disarm();
    }
    match wait.outcome(state, end).await? {
        Some(result) => Ok(outcome(job.id, result, &state.files, caller).await),
        None => Ok(about(job.id, Refusal::plain(404, "Request not found").into_response())),
    }
}
