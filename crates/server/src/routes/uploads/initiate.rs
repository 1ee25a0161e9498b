//! `POST /rest/storage/upload/initiate` and `…/initiate-multipart`: where to send a file, and where it will be.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use scumble_api::{InitiateUpload, InitiatedUpload};

use super::{StorageQuery, read_json};
use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::sent::{SMALL, Sent};
use crate::state::AppState;
use crate::uploads::{Claims, Signer, Ticket, UPLOAD_MS, lifecycle, ticket};

/// For a file in one go.
pub(in crate::routes) async fn initiate(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<StorageQuery>,
    headers: HeaderMap,
    Sent { by: authorized, body }: Sent<Authorized, SMALL>,
) -> Result<Json<InitiatedUpload>, Refusal> {
    answer(&state, &caller, authorized, &query, &headers, &body, Claims::Put).await
}

/// For a file in parts.
pub(in crate::routes) async fn initiate_parts(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<StorageQuery>,
    headers: HeaderMap,
    Sent { by: authorized, body }: Sent<Authorized, SMALL>,
) -> Result<Json<InitiatedUpload>, Refusal> {
    answer(&state, &caller, authorized, &query, &headers, &body, Claims::Parts).await
}

async fn answer(
    state: &AppState,
    caller: &Caller,
    authorized: Authorized,
    query: &StorageQuery,
    headers: &HeaderMap,
    body: &[u8],
    claims: impl FnOnce(Ticket) -> Claims,
) -> Result<Json<InitiatedUpload>, Refusal> {
    query.check()?;
    let InitiateUpload { file_name, content_type } = read_json(body)?;
    let owner = authorized.key_id;
    let (ticket, path) = ticket(file_name.as_deref(), content_type.as_deref(), owner, lifecycle(headers)?)?;
    let until_ms = state.clock.now_ms().saturating_add(UPLOAD_MS);
    let token = Signer::of(state).await?.seal(&claims(ticket), until_ms)?;
    Ok(Json(InitiatedUpload {
        upload_url: caller.url(Service::Cdn, &format!("/put/{path}?token={token}")),
        file_url: caller.url(Service::Cdn, &format!("/files/{path}")),
    }))
}
