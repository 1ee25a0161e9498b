//! What machines ask.

use axum::extract::State;

use crate::answer::Refusal;
use crate::state::AppState;

/// `GET /health`: the process answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /ready`: calls are taken, and the database can be written, in the file that will be there at the next start.
pub(super) async fn ready(State(state): State<AppState>) -> Result<&'static str, Refusal> {
    state.stop.check().map_err(|_| Refusal::plain(503, "The server is being stopped"))?;
    match state.store.prove().await {
        Ok(()) => Ok("ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Refusal::plain(503, "The database does not answer, or cannot be written; the server's log says why"))
        }
    }
}
