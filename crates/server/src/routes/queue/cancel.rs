//! `PUT …/requests/{id}/cancel`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::{Cancel, JobSummary, Outcome};
use serde_json::json;

use super::{What, known};
use crate::answer::{Refusal, about};
use crate::auth::Authorized;
use crate::state::AppState;

/// A cancelled request still ends, as fal's clients expect: its result is a 499.
pub(super) async fn cancel(
    State(state): State<AppState>,
    authorized: Authorized,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let unknown = || (StatusCode::NOT_FOUND, Json(json!({ "status": "NOT_FOUND" }))).into_response();
    let Some((JobSummary { id, .. }, What::Cancel)) = known(&state, &authorized, &path).await? else {
        return Ok(unknown());
    };
    let outcome = Outcome::from(&ErrorAnswer::typed(ErrorType::ClientCancelled, "Request was cancelled"));
    let (code, word) = match state.cancel(id, outcome).await? {
        Cancel::Removed => (StatusCode::OK, "OK"),
        Cancel::Requested => (StatusCode::ACCEPTED, "CANCELLATION_REQUESTED"),
        Cancel::AlreadyEnded => (StatusCode::BAD_REQUEST, "ALREADY_COMPLETED"),
        Cancel::Unknown => return Ok(unknown()),
    };
    Ok(about(id, (code, Json(json!({ "status": word }))).into_response()))
}
