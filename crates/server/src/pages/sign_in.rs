//! Signing in with a key, and out again.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use minijinja::context;
use serde::Deserialize;

use super::layout::Frame;
use super::tries::Party;
use super::values::pairs;
use super::visitor::{FromHere, key_of_cookie, redirect, signed_in, signed_out};
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::key::hash;
use crate::sent::{FORM, Sent};
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// `GET /sign-in`.
pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<Next>,
    headers: HeaderMap,
) -> Response {
    let frame = Frame { caller: &caller, visitor: None };
    let next = own_path(query.next.as_deref());
    let already = async {
        Ok::<bool, Refusal>(!state.store.keys_required().await? || key_of_cookie(&state, &headers).await?.is_some())
    };
    match already.await {
        Ok(true) => redirect(&caller, &next, None),
        Ok(false) => frame.page("sign-in.html", "sign-in", &context! { title => "Sign in", next => next }),
        Err(refusal) => frame.refusal(&refusal),
    }
}

/// `POST /sign-in`.
pub(super) async fn sign_in(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Sent { by: FromHere(address), body }: Sent<FromHere, FORM>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: None };
    let fields = pairs(&body);
    let next = own_path(fields.get("next").map(String::as_str));
    let key = fields.get("key").map_or("", |key| key.trim());
    let entered = async {
        match enter(&state, key, address).await? {
            Entry::Open(key) => {
                // who signs in anew leaves the visit before it
                signed_out(&state, &caller, &headers).await?;
                let cookie = signed_in(&state, &caller, &key).await?;
                Ok(redirect(&caller, &next, Some(cookie)))
            }
            Entry::Shut { status, error, wait_s } => {
                let content = context! { title => "Sign in", next => next, error => error };
                let mut response = frame.with_status(status, "sign-in.html", "sign-in", &content);
                response.headers_mut().extend(wait_s.map(|s| (header::RETRY_AFTER, HeaderValue::from(s))));
                Ok(response)
            }
        }
    };
    entered.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// What somebody finds who comes with a key.
enum Entry {
    /// The key of this id opens.
    Open(String),
    /// Nothing opens; why, and what would help.
    Shut { status: StatusCode, error: String, wait_s: Option<i64> },
}

/// Tries a key. Who fails too often has to wait before anything of the next one is looked at.
async fn enter(state: &AppState, key: &str, address: Option<IpAddr>) -> Result<Entry, Refusal> {
    let unknown = |error: &str| Entry::Shut { status: StatusCode::UNAUTHORIZED, error: error.into(), wait_s: None };
    if key.is_empty() {
        return Ok(unknown("Type or paste a key"));
    }
    let named = state.store.key(key.split(':').next().unwrap_or_default()).await?;
    let party = Party::of(address, named.map(|key| key.id));
    if let Err(wait_ms) = state.tries.begin(&party, state.clock.now_ms()) {
        let seconds = wait_ms.saturating_add(999) / 1000;
        let error = format!("Too many wrong keys were tried. Wait for {seconds} s and try again");
        return Ok(Entry::Shut { status: StatusCode::TOO_MANY_REQUESTS, error, wait_s: Some(seconds) });
    }
    match state.store.key_by_hash(&hash(key)).await? {
        Some(record) => {
            state.tries.succeeded(&party);
            state.used(&record);
            Ok(Entry::Open(record.id))
        }
        None => Ok(unknown("This key is not valid here, or it was revoked")),
    }
}

/// `POST /sign-out`: the cookie is worth nothing from now on, in whatever hands it is.
pub(super) async fn sign_out(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    FromHere(_): FromHere,
    headers: HeaderMap,
) -> Response {
    match signed_out(&state, &caller, &headers).await {
        Ok(cookie) => redirect(&caller, "/sign-in", Some(cookie)),
        Err(refusal) => Frame { caller: &caller, visitor: None }.refusal(&refusal),
    }
}

/// A path of this server, whatever was asked for.
fn own_path(next: Option<&str>) -> String {
    let is_path = |next: &&str| {
        next.starts_with('/') && !next.starts_with("//") && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(is_path).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (next, expected) in [
            (Some("/models/a/b?x=1"), "/models/a/b?x=1"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/a\r\nset-cookie: x"), "/"),
            (Some(""), "/"),
            (None, "/"),
        ] {
            assert_eq!(own_path(next), expected, "{next:?}");
        }
    }
}
