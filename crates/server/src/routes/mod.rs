//! The routes, grouped by who calls.

mod files;
mod probes;
mod queue;
mod realtime;
mod run;
mod stream;
mod tokens;
mod ws;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use self::realtime::endpoint_of as realtime_of;
pub(crate) use self::stream::endpoint_of as stream_of;
use crate::addressing::address;
use crate::auth::take_token;
use crate::middleware::{cors, json_errors, panicked, request_id};
use crate::state::AppState;

/// The whole HTTP face.
pub fn router(state: AppState) -> Router {
    let services = Router::new()
        // programs: direct calls, streams, realtime, the queue
        .route("/run/{*id}", get(run::with_query).post(run::with_body))
        .route("/queue/{*path}", get(queue::read).post(queue::submit).put(queue::cancel))
        .route("/ws/{*id}", get(ws::open))
        .route("/rest/tokens", post(tokens::bare))
        .route("/rest/tokens/", post(tokens::bare))
        .route("/rest/tokens/realtime", post(tokens::realtime))
        .route("/rest/tokens/realtime/", post(tokens::realtime))
        // anybody with the URL of a file
        .route("/cdn/files/{*path}", get(files::read))
        .route("/files/{*path}", get(files::read))
        // machines
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .route("/", get(probes::hello))
        // a bare endpoint id is a direct call
        .fallback(run::bare)
        .layer(DefaultBodyLimit::max(state.config.body_bytes))
        // before anything looks at the query
        .layer(from_fn(take_token))
        .with_state(state.clone());
    // Layers wrap what is above them: a request passes these from the last to the first. Addressing comes last but
    // one before routing, because it changes the path that routes see; the outer router exists for that reason.
    Router::new()
        .fallback_service(services)
        .layer(from_fn_with_state(state, address))
        .layer(from_fn(json_errors))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(request_id))
        .layer(cors())
}
