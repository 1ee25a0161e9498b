//! `PUT /cdn/put/…`: the bytes of an upload that was initiated. The URL is the leave; headers count for nothing.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use scumble_api::Uploaded;
use scumble_files::FilePath;
use serde::Deserialize;

use super::read_list;
use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::state::AppState;
use crate::uploads::{self, Claims, Signer, Ticket, Unusable};

/// `?token=…`, as `initiate` gave it.
#[derive(Debug, Deserialize)]
pub(in crate::routes) struct TokenQuery {
    #[serde(default)]
    token: String,
}

/// `PUT /cdn/put/{path}` takes the file, `PUT /cdn/put/{path}/{n}` a part of it.
pub(in crate::routes) async fn put(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    match (claims(&state, &query).await?, path.rsplit_once('/')) {
        (Claims::Put(ticket), _) => {
            let path = matching(&ticket, &path)?;
            uploads::whole(&state, &ticket, &path, &headers, body).await?;
            Ok(uploaded(&caller, &path).into_response())
        }
        (Claims::Parts(ticket), Some((path, number))) => {
            let path = matching(&ticket, path)?;
            let part = uploads::part(&state, &path, part_number(number)?, &headers, body).await?;
            Ok(Json(part).into_response())
        }
        _ => Err(not_for_this()),
    }
}

/// `POST /cdn/put/{path}/complete`: all parts are here.
pub(in crate::routes) async fn complete(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Query(query): Query<TokenQuery>,
    body: Body,
) -> Result<Json<Uploaded>, Refusal> {
    let (Claims::Parts(ticket), Some(path)) = (claims(&state, &query).await?, path.strip_suffix("/complete")) else {
        return Err(not_for_this());
    };
    let path = matching(&ticket, path)?;
    uploads::complete(&state, &ticket, &path, &read_list(body).await?).await?;
    Ok(uploaded(&caller, &path))
}

/// The number of a part, as URLs have it.
pub(super) fn part_number(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal::plain(422, "The number of the part is not a number"))
}

/// The path of a ticket, if the URL has the same.
pub(super) fn matching(ticket: &Ticket, path: &str) -> Result<FilePath, Refusal> {
    let path: FilePath = path.parse().map_err(|_| not_for_this())?;
    if ticket.is_for(&path) { Ok(path) } else { Err(not_for_this()) }
}

/// Where the file is now.
pub(super) fn uploaded(caller: &Caller, path: &FilePath) -> Json<Uploaded> {
    Json(Uploaded { access_url: caller.url(Service::Cdn, &format!("/files/{path}")) })
}

/// Leave to upload something, but not this.
pub(super) fn not_for_this() -> Refusal {
    Refusal::plain(403, "This upload URL is for something else: send the bytes where the initiate call said")
}

/// Tokens that open nothing, for people.
pub(super) fn unusable(why: Unusable) -> Refusal {
    match why {
        Unusable::Expired => Refusal::plain(403, "This upload URL has expired: initiate the upload again"),
        Unusable::Forged => Refusal::plain(403, "This upload URL was not made here, or was changed on its way"),
    }
}

async fn claims(state: &AppState, query: &TokenQuery) -> Result<Claims, Refusal> {
    Signer::of(state).await?.open(&query.token, state.clock.now_ms()).map_err(unusable)
}
