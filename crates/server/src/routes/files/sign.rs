//! `POST {file_url}/sign`: a URL that opens a file for whoever has it.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use scumble_api::SignRequest;
use scumble_files::FilePath;
use scumble_store::Decision;

use super::super::uploads::read_small;
use super::access::{forbidden, living, not_found};
use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::state::AppState;
use crate::uploads::{Claims, Reader, Signer};

/// How long a URL opens when its owner does not say, in seconds.
const SECONDS: u64 = 24 * 60 * 60;

/// …and at most.
const SECONDS_MAX: u64 = 7 * SECONDS;

/// Answers with the URL as plain text. Only the owner may: on a server without keys, that is everybody.
pub(super) async fn sign(
    state: &AppState,
    caller: &Caller,
    reader: &Reader,
    path: &FilePath,
    body: Body,
) -> Result<Response, Refusal> {
    let row = living(state, path).await?;
    let is_everybodys = row.owner.is_none() && !state.store.keys_required().await?;
    if !reader.owns(&row) && !is_everybodys {
        return Err(match reader.decision(&row) {
            Decision::Hide => not_found(),
            Decision::Allow | Decision::Forbid => forbidden("Only the owner of a file may sign its URL"),
        });
    }
    let SignRequest { duration, scope } = read_small(body).await?;
    if scope.is_some_and(|scope| scope.iter().any(|word| word != "read")) {
        return Err(Refusal::plain(422, "scope must be [\"read\"]: there is nothing else to sign"));
    }
    let seconds = duration.unwrap_or(SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Refusal::plain(422, &format!("duration must be from 1 to {SECONDS_MAX} seconds")));
    }
    let until_ms = state.clock.now_ms().saturating_add_unsigned(seconds * 1000);
    let identity = Signer::of(state).await?.seal(&Claims::Read { path: row.path }, until_ms)?;
    Ok(caller.url(Service::Cdn, &format!("/files/{path}?identity={identity}")).into_response())
}
