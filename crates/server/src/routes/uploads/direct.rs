//! `POST /cdn/files/upload`: a file in one call, with a token or a key.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use scumble_api::Uploaded;

use super::put::uploaded;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::state::AppState;
use crate::uploads::{self, Uploader, ticket_of_headers};

pub(in crate::routes) async fn direct(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    uploader: Uploader,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Uploaded>, Refusal> {
    let (ticket, path) = ticket_of_headers(&headers, uploader.owner)?;
    uploads::whole(&state, &ticket, &path, &headers, body).await?;
    Ok(uploaded(&caller, &path))
}
