//! `/keys`: who may call. A key's secret is shown once, right after it was made.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use minijinja::context;
use scumble_store::KeyRecord;

use super::labels::{iso, moment};
use super::layout::Frame;
use super::values::pairs;
use super::visitor::{Change, Visitor, redirect, signed_in, signed_out};
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::key::{KeySecret, new_key};
use crate::sent::{FORM, Sent};
use crate::state::AppState;

/// Longest name of a key.
const LABEL: usize = 80;

/// `GET /keys`.
pub(super) async fn list(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Visitor,
) -> Response {
    page(&state, &caller, &visitor, &Note::default()).await
}

/// `POST /keys`: makes one. Who makes the first is signed in with it, or they would have locked themselves out.
pub(super) async fn create(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Sent { by: Change(visitor), body }: Sent<Change, FORM>,
) -> Response {
    let fields = pairs(&body);
    let label = fields.get("label").map_or("", |label| label.trim());
    if !(1..=LABEL).contains(&label.chars().count()) {
        let error = format!("Give it a name of 1 to {LABEL} characters, so that you know later what it is for");
        return page(&state, &caller, &visitor, &Note { error: Some(error), made: None }).await;
    }
    let (id, secret, hash) = new_key();
    let made = async {
        state.store.create_key(&id, label, hash).await?;
        let visitor = Visitor { key_id: Some(visitor.key_id.clone().unwrap_or_else(|| id.clone())) };
        let cookie = match visitor.key_id.as_deref() == Some(id.as_str()) {
            true => Some(signed_in(&state, &caller, &id).await?),
            false => None,
        };
        let note = Note { error: None, made: Some((label.to_owned(), secret)) };
        let mut response = page(&state, &caller, &visitor, &note).await;
        if let Some(Ok(cookie)) = cookie.map(|cookie| HeaderValue::from_str(&cookie)) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    };
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    made.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// `POST /keys/{id}/revoke`.
pub(super) async fn revoke(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Change(visitor): Change,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let revoked = async {
        state.store.revoke_key(&id).await?;
        let own = visitor.key_id.as_deref() == Some(id.as_str());
        let cookie = if own { Some(signed_out(&state, &caller, &headers).await?) } else { None };
        Ok(redirect(&caller, "/keys", cookie))
    };
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    revoked.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// What is said beside the list.
#[derive(Default)]
struct Note {
    error: Option<String>,
    /// A new key: its name, and what is shown this once.
    made: Option<(String, KeySecret)>,
}

async fn page(state: &AppState, caller: &Caller, visitor: &Visitor, note: &Note) -> Response {
    let frame = Frame { caller, visitor: Some(visitor) };
    let keys = match state.store.list_keys().await {
        Ok(keys) => keys,
        Err(error) => return frame.refusal(&Refusal::from(error)),
    };
    let row = |key: &KeyRecord| {
        context! {
            id => key.id, label => key.label, created => moment(key.created_ms), created_iso => iso(key.created_ms),
            revoked => key.revoked_ms.map(moment), own => visitor.key_id.as_deref() == Some(key.id.as_str()),
        }
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    let made = note.made.as_ref().map(|(label, secret)| context! { label => label, secret => secret.reveal() });
    let content =
        context! { title => "Keys", keys => rows, error => note.error, made => made, open => state.config.open };
    let status = if note.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    frame.with_status(status, "keys.html", "keys", &content)
}
