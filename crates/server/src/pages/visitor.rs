//! Who looks at a page: anybody on a server without keys, otherwise who has signed in with one.
//!
//! Signing in begins a visit and leaves a cookie: a random word of which the store keeps the digest. It never holds the
//! key. Browsers send it with requests of this very site only, and what changes something must also come from a page of
//! this site. Signing out ends the visit: the word is worth nothing from then on, wherever it was copied to.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::layout::{Frame, base, private};
use crate::addressing::{Caller, Scheme};
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::forwarded;
use crate::hosts::Service;
use crate::key::hash;
use crate::state::AppState;

const COOKIE: &str = "scumble_session";
/// How long somebody stays signed in.
const SIGNED_IN_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// The digest of the word that a visitor's browser keeps.
pub(crate) type VisitHash = [u8; 32];

/// Somebody who may look.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The key they signed in with.
    pub(super) key_id: Option<String>,
}

/// Somebody who may look, with a wish that comes from a page of ours.
pub(super) struct Change(pub(super) Visitor);

/// A wish that comes from a page of ours, of whoever is at this address.
pub(super) struct FromHere(pub(super) Option<IpAddr>);

/// No page for this visitor.
pub(super) enum Turned {
    /// They have to sign in first.
    SignIn(String),
    /// The request is not for people.
    Refused(Box<(Refusal, Caller, bool)>),
}

impl FromRequestParts<AppState> for Visitor {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Turned> {
        let caller = caller(parts);
        let refused = |refusal: Refusal| Turned::refused(refusal, &caller, wants_json(&parts.headers));
        if !state.store.keys_required().await.map_err(|error| refused(error.into()))? {
            return Ok(Self { key_id: None });
        }
        let by_cookie = key_of_cookie(state, &parts.headers).await;
        if let Some(key) = by_cookie.map_err(refused)? {
            return Ok(Self { key_id: Some(key) });
        }
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let headers_only = Authorized::from_request_parts(parts, state).await;
            let wants_json = wants_json(&parts.headers);
            let authorized = headers_only.map_err(|refusal| Turned::refused(refusal, &caller, wants_json))?;
            return Ok(Self { key_id: authorized.key_id });
        }
        if wants_json(&parts.headers) {
            return Err(refused(Refusal::plain(401, "You are no longer signed in: sign in, then do this again")));
        }
        let next = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        Err(Turned::SignIn(format!("{}/sign-in?next={next}", base(&caller))))
    }
}

impl FromRequestParts<AppState> for Change {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Turned> {
        let caller = caller(parts);
        if !is_from_here(&parts.headers, &caller) {
            return Err(Turned::refused(strange_origin(), &caller, wants_json(&parts.headers)));
        }
        Visitor::from_request_parts(parts, state).await.map(Self)
    }
}

impl FromRequestParts<AppState> for FromHere {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Turned> {
        let caller = caller(parts);
        match is_from_here(&parts.headers, &caller) {
            true => Ok(Self(forwarded::caller(&parts.extensions, &parts.headers, &state.config))),
            false => Err(Turned::refused(strange_origin(), &caller, wants_json(&parts.headers))),
        }
    }
}

/// For what only programs of ours send.
impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal, &Caller::unknown(), true)
    }
}

/// The answer to somebody for whom there is no page at all.
pub(crate) fn refused(parts: &Parts, refusal: Refusal) -> Response {
    Turned::refused(refusal, &caller(parts), wants_json(&parts.headers)).into_response()
}

impl Turned {
    fn refused(refusal: Refusal, caller: &Caller, as_json: bool) -> Self {
        Self::Refused(Box::new((refusal, caller.clone(), as_json)))
    }
}

impl IntoResponse for Turned {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(url) => private(Redirect::to(&url).into_response()),
            Self::Refused(why) => {
                let (refusal, caller, as_json) = *why;
                match as_json {
                    true => private(refusal.into_response()),
                    false => Frame { caller: &caller, visitor: None }.refusal(&refusal),
                }
            }
        }
    }
}

/// Addressing has put it there.
fn caller(parts: &Parts) -> Caller {
    parts.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::unknown)
}

/// Scripts of ours speak JSON, forms do not.
fn wants_json(headers: &HeaderMap) -> bool {
    let is_json = |name| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|v| v.starts_with("application/json"))
    };
    is_json(header::CONTENT_TYPE) || is_json(header::ACCEPT)
}

fn strange_origin() -> Refusal {
    Refusal::plain(403, "This was not sent from a page of this server. Open the page here and try again")
}

/// Whether a request comes from one of our own pages. Browsers always say where a POST comes from.
fn is_from_here(headers: &HeaderMap, caller: &Caller) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let own = caller.url(Service::Platform, "");
    let Some(origin) = text("origin") else { return false };
    authority_of(origin).is_some_and(|theirs| theirs == caller.authority_text() || Some(theirs) == authority_of(&own))
}

fn authority_of(url: &str) -> Option<String> {
    Some(url.parse::<Uri>().ok()?.authority()?.as_str().to_ascii_lowercase())
}

/// The key that a browser has signed in with, if that is still good.
pub(crate) async fn key_of_cookie(state: &AppState, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    Ok(visit_of_cookie(state, headers).await?.map(|(key, _)| key))
}

async fn visit_of_cookie(state: &AppState, headers: &HeaderMap) -> Result<Option<(String, VisitHash)>, Refusal> {
    let Some(word) = cookie(headers).map(hash) else { return Ok(None) };
    let key = state.store.visit(&word).await?.inspect(|key| state.used(key));
    Ok(key.map(|key| (key.id, word)))
}

/// The same for calls of the API, with the visit by which they may: only where one of our own pages makes them.
pub(crate) async fn visit_of_page(state: &AppState, parts: &Parts) -> Result<Option<(String, VisitHash)>, Refusal> {
    let from_here = parts.extensions.get::<Caller>().is_some_and(|caller| is_from_here(&parts.headers, caller));
    if from_here { visit_of_cookie(state, &parts.headers).await } else { Ok(None) }
}

pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = pairs.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Begins a visit with this key. The cookie is what a browser is told to keep.
pub(super) async fn signed_in(state: &AppState, caller: &Caller, key: &str) -> Result<String, Refusal> {
    // two random UUIDs: 244 random bits, so that a plain digest is enough
    let word = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let until_ms = state.clock.now_ms().saturating_add(SIGNED_IN_MS);
    state.store.begin_visit(hash(&word), key, until_ms).await?;
    Ok(set_cookie(caller, &word, SIGNED_IN_MS / 1000))
}

/// Ends the visit of whoever sends this. The cookie is what their browser is told to forget.
pub(super) async fn signed_out(state: &AppState, caller: &Caller, headers: &HeaderMap) -> Result<String, Refusal> {
    if let Some(word) = cookie(headers).map(hash) {
        state.store.end_visit(&word).await?;
    }
    Ok(set_cookie(caller, "", 0))
}

fn set_cookie(caller: &Caller, value: &str, seconds: i64) -> String {
    let secure = if caller.scheme() == Scheme::Https { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path={}/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", base(caller))
}

/// Goes on to another page of ours, with a cookie where there is one to set.
pub(super) fn redirect(caller: &Caller, path: &str, cookie: Option<String>) -> Response {
    let to = format!("{}{path}", base(caller));
    let mut response = private((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response());
    if let Some(Ok(cookie)) = cookie.map(|cookie| cookie.parse()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
