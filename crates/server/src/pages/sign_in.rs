//! Signing in with a key, and out again.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::context;
use serde::Deserialize;

use super::layout::Frame;
use super::values::pairs;
use super::visitor::{is_from_here, key_of_cookie, redirect, signed_in, signed_out, strange_origin};
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::key::hash;
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
    body: Bytes,
) -> Response {
    let frame = Frame { caller: &caller, visitor: None };
    if !is_from_here(&headers, &caller) {
        return frame.refusal(&strange_origin());
    }
    let fields = pairs(&body);
    let next = own_path(fields.get("next").map(String::as_str));
    let key = fields.get("key").map_or("", |key| key.trim());
    let known = async {
        let Some(record) = state.store.key_by_hash(&hash(key)).await? else { return Ok(None) };
        signed_in(&state, &caller, record.id).await.map(Some)
    };
    match known.await {
        Ok(Some(cookie)) => redirect(&caller, &next, Some(cookie)),
        Ok(None) => {
            let error = match key {
                "" => "Type or paste a key",
                _ => "This key is not valid here, or it was revoked",
            };
            let content = context! { title => "Sign in", next => next, error => error };
            frame.with_status(StatusCode::UNAUTHORIZED, "sign-in.html", "sign-in", &content)
        }
        Err(refusal) => frame.refusal(&refusal),
    }
}

/// `POST /sign-out`.
pub(super) async fn sign_out(Extension(caller): Extension<Caller>, headers: HeaderMap) -> Response {
    if !is_from_here(&headers, &caller) {
        return Frame { caller: &caller, visitor: None }.refusal(&strange_origin());
    }
    redirect(&caller, "/sign-in", Some(signed_out(&caller)))
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
