//! The routes, grouped by who calls.

pub(crate) mod files;
mod probes;
pub(crate) mod queue;
mod run;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use crate::addressing::address;
use crate::middleware::{cors, json_errors, panicked, request_id};
use crate::state::AppState;

/// The whole HTTP face.
pub fn router(state: AppState) -> Router {
    let services = Router::new()
        // programs: direct calls and the queue
        .route("/run/{*id}", get(run::with_query).post(run::with_body))
        .route("/queue/{*path}", get(queue::read).post(queue::submit).put(queue::cancel))
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
