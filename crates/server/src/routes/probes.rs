//! What machines ask.

use axum::extract::State;

use crate::answer::Refusal;
use crate::state::AppState;

/// `GET /health`: the process answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /ready`: the database answers too.
pub(super) async fn ready(State(state): State<AppState>) -> Result<&'static str, Refusal> {
    match state.store.ping().await {
        Ok(()) => Ok("ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Refusal::plain(503, "The database does not answer"))
        }
    }
}
