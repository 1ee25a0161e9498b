//! `GET …/requests/{id}`.

use axum::response::{IntoResponse, Response};
use scumble_store::Job;

use crate::addressing::Caller;
use crate::answer::{Refusal, about, outcome};
use crate::state::AppState;

/// Status, headers and body as the model produced them, errors included.
pub(super) async fn result(state: &AppState, caller: &Caller, job: Job) -> Result<Response, Refusal> {
    match job.outcome {
        Some(result) => Ok(outcome(job.id, result, &state.files, caller).await),
        None => Ok(about(job.id, Refusal::plain(400, "Request is still in progress").into_response())),
    }
}
