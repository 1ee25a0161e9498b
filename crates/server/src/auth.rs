//! Who calls.

use std::sync::atomic::Ordering;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use crate::answer::Refusal;
use crate::key::hash;
use crate::state::AppState;

/// A caller who may call: with a key, or on a server without keys.
#[derive(Clone, Debug)]
pub(crate) struct Authorized {
    pub(crate) key_id: Option<String>,
}

impl FromRequestParts<AppState> for Authorized {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        if !keys_required(state).await? {
            return Ok(Self { key_id: None });
        }
        let Some(key) = presented(parts) else {
            return Err(Refusal::plain(401, "A key is needed: send the header Authorization: Key <key>"));
        };
        match state.store.key_by_hash(&hash(key)).await? {
            Some(record) => Ok(Self { key_id: Some(record.id) }),
            None => Err(Refusal::plain(401, "This key is not valid here")),
        }
    }
}

/// Whether callers need a key. Once they do they always will, so that answer is not asked for again.
async fn keys_required(state: &AppState) -> scumble_store::Result<bool> {
    if state.keyed.load(Ordering::Acquire) {
        return Ok(true);
    }
    let required = state.store.keys_required().await?;
    state.keyed.fetch_or(required, Ordering::AcqRel);
    Ok(required)
}

/// What follows `Key` or `Bearer`, in any letter case. A key is opaque: it is never split.
fn presented(parts: &Parts) -> Option<&str> {
    let (scheme, key) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let known = ["key", "bearer"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
    known.then(|| key.trim())
}
