//! `POST /cdn/files/upload/multipart` and what follows it: a file in parts, each with the token of the first call.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use scumble_api::{MultipartUpload, Uploaded};
use scumble_files::FilePath;

use super::put::{matching, not_for_this, part_number, unusable, uploaded};
use super::read_list;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::state::AppState;
use crate::uploads::{self, Claims, Signer, Ticket, UPLOAD_MS, Uploader, ticket_of_headers};

/// Between the file's path and the rest.
const MULTIPART: &str = "/multipart/";

/// Begins an upload. The id holds what nobody remembers.
pub(in crate::routes) async fn begin_parts(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    uploader: Uploader,
    headers: HeaderMap,
) -> Result<Json<MultipartUpload>, Refusal> {
    let (ticket, path) = ticket_of_headers(&headers, uploader.owner)?;
    let until_ms = state.clock.now_ms().saturating_add(UPLOAD_MS);
    let upload_id = Signer::of(&state).await?.seal(&Claims::Parts(ticket), until_ms)?;
    let Json(Uploaded { access_url }) = uploaded(&caller, &path);
    Ok(Json(MultipartUpload { access_url, upload_id }))
}

/// `PUT {access_url}/multipart/{uploadId}/{n}`: a part. Python looks for the etag in the headers, JavaScript in the
/// body.
pub(in crate::routes) async fn put_part(
    State(state): State<AppState>,
    uploader: Uploader,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (path, rest) = path.split_once(MULTIPART).ok_or_else(not_for_this)?;
    let (upload_id, number) = rest.split_once('/').ok_or_else(not_for_this)?;
    let (_, path) = opened(&state, &uploader, path, upload_id).await?;
    let part = uploads::part(&state, &path, part_number(number)?, &headers, body).await?;
    let etag = [(header::ETAG, format!("\"{}\"", part.etag))];
    Ok((StatusCode::OK, etag, Json(part)).into_response())
}

/// `POST {access_url}/multipart/{uploadId}/complete`: all parts are here.
pub(in crate::routes) async fn complete_parts(
    state: &AppState,
    caller: &Caller,
    uploader: &Uploader,
    path: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let (path, rest) = path.split_once(MULTIPART).ok_or_else(not_for_this)?;
    let upload_id = rest.strip_suffix("/complete").ok_or_else(not_for_this)?;
    let (ticket, path) = opened(state, uploader, path, upload_id).await?;
    uploads::complete(state, &ticket, &path, &read_list(body).await?).await?;
    Ok(uploaded(caller, &path).into_response())
}

/// What an upload's id says, for the one who began it.
async fn opened(
    state: &AppState,
    uploader: &Uploader,
    path: &str,
    upload_id: &str,
) -> Result<(Ticket, FilePath), Refusal> {
    let claims = Signer::of(state).await?.open(upload_id, state.clock.now_ms()).map_err(unusable)?;
    let Claims::Parts(ticket) = claims else { return Err(not_for_this()) };
    if ticket.owner != uploader.owner {
        return Err(Refusal::plain(403, "This upload belongs to another key"));
    }
    let path = matching(&ticket, path)?;
    Ok((ticket, path))
}
