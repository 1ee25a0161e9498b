//! `GET …/requests/{id}`.

use axum::response::{IntoResponse, Response};
use scumble_store::JobSummary;

use crate::addressing::Caller;
use crate::answer::{Refusal, about, outcome};
use crate::state::AppState;

/// Status, headers and body as the model produced them, errors included.
pub(super) async fn result(state: &AppState, caller: &Caller, job: &JobSummary) -> Result<Response, Refusal> {
    let id = job.id;
    match state.store.outcome(id).await? {
        Some(result) => Ok(outcome(id, result, &state.files, caller).await),
        // deleted since it was found
        None if job.state.is_end() => Err(Refusal::plain(404, "Request not found")),
        None => Ok(about(id, Refusal::plain(400, "Request is still in progress").into_response())),
    }
}
