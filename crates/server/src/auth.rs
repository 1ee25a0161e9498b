//! Who calls.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, Method, header};
use scumble_api::EndpointId;

use crate::addressing::Service;
use crate::answer::Refusal;
use crate::key::hash;
use crate::pages::{self, VisitHash};
use crate::routes;
use crate::state::AppState;
use crate::token::{self, Door, Token};

/// A caller who may call: with a key, with a token where those count, or on a server without keys.
#[derive(Clone, Debug)]
pub(crate) struct Authorized {
    pub(crate) key_id: Option<String>,
    /// The end of the token that was presented.
    until_ms: Option<i64>,
    /// The visit by which somebody calls who has signed in.
    visit: Option<VisitHash>,
}

impl FromRequestParts<AppState> for Authorized {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        if let Some(token) = parts.extensions.get::<Token>()
            && !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(door) = door(parts)
        {
            return Self::by_token(state, token, &door).await;
        }
        if !state.store.keys_required().await? {
            return Ok(Self::of_key(None));
        }
        let Some(key) = presented(parts) else {
            if let Some((key, visit)) = pages::visit_of_page(state, parts).await? {
                return Ok(Self { visit: Some(visit), ..Self::of_key(Some(key)) });
            }
            return Err(Refusal::plain(401, "A key is needed: send the header Authorization: Key <key>"));
        };
        match state.store.key_by_hash(&hash(key)).await? {
            Some(record) => {
                state.used(&record);
                Ok(Self::of_key(Some(record.id)))
            }
            None => Err(Refusal::plain(401, "This key is not valid here")),
        }
    }
}

impl Authorized {
    /// Somebody who has shown this key in another way.
    pub(crate) const fn of_key(key_id: Option<String>) -> Self {
        Self { key_id, until_ms: None, visit: None }
    }

    async fn by_token(state: &AppState, token: &Token, door: &Door) -> Result<Self, Refusal> {
        let Some(claims) = token::read(&*state.store, token, state.clock.now_ms()).await? else {
            return Err(Refusal::plain(401, "This token is not valid here, or has expired"));
        };
        if !claims.open(door) {
            return Err(Refusal::plain(401, "This token is for another app"));
        }
        let this = Self { until_ms: Some(claims.until_ms()), ..Self::of_key(claims.key) };
        match this.still(state).await? {
            true => Ok(this),
            false => Err(Refusal::plain(401, "The key that this token was made with is no longer valid")),
        }
    }

    /// Whether this request is there for the caller. Those of the time before there were keys are everybody's, as on
    /// pages; of another key's nobody learns that they exist.
    pub(crate) fn may_see(&self, owner: Option<&str>) -> bool {
        is_there_for(self.key_id.as_deref(), owner)
    }

    /// Whether the caller may still call, later on the same connection: tokens end, keys are revoked, people sign out.
    pub(crate) async fn still(&self, state: &AppState) -> scumble_store::Result<bool> {
        if self.until_ms.is_some_and(|until| until <= state.clock.now_ms()) {
            return Ok(false);
        }
        if let Some(visit) = &self.visit {
            return Ok(state.store.visit(visit).await?.inspect(|key| state.used(key)).is_some());
        }
        is_alive(state, self.key_id.as_deref()).await
    }
}

/// Whether what was given to the holder of this key, or to anybody on a server without keys, still holds. If so it is a use
/// of the key.
pub(crate) async fn is_alive(state: &AppState, key: Option<&str>) -> scumble_store::Result<bool> {
    let Some(id) = key else { return Ok(!state.store.keys_required().await?) };
    Ok(state.store.key(id).await?.inspect(|key| state.used(key)).is_some())
}

/// Whether a request of this key's is there for somebody with that key, or without one on a server without keys.
pub(crate) fn is_there_for(key: Option<&str>, owner: Option<&str>) -> bool {
    key.is_none() || owner.is_none() || key == owner
}

/// What follows `Key` or `Bearer`, in any letter case. A key is opaque: it is never split.
pub(crate) fn presented(parts: &Parts) -> Option<&str> {
    let (scheme, key) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let known = ["key", "bearer"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
    known.then(|| key.trim())
}

/// The door that a request knocks at, where it is one that tokens open: WebSockets of RUN, streams, status streams.
pub(crate) fn door(parts: &Parts) -> Option<Door> {
    let path = parts.uri.path();
    if let Some(path) = path.strip_prefix("/queue/") {
        let (app, rest) = path.split_once("/requests/")?;
        let is_stream = parts.method == Method::GET && rest.trim_end_matches('/').ends_with("/status/stream");
        let app_path = EndpointId::parse(app)?.app_path().as_str().to_owned();
        return is_stream.then_some(Door::Status { app_path });
    }
    // a bare path on a host that is none of fal's is RUN too
    let path = path.strip_prefix("/run/").or_else(|| (!Service::has_path(path)).then_some(path))?;
    let (id, way) = if parts.method == Method::POST {
        (routes::stream_of(path)?, "stream")
    } else {
        wants_websocket(&parts.headers).then(|| (routes::realtime_of(path), "realtime"))?
    };
    Some(Door::Call { id: EndpointId::parse(id)?, way })
}

/// Whether a request asks for a WebSocket.
pub(crate) fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|v| v.split(',').any(|word| word.trim().eq_ignore_ascii_case("websocket")))
}

/// Takes the token out of the query, wherever it was put: what is not in the URL gets into no log and no input.
pub(crate) fn take_token(mut request: Request) -> Request {
    if let Some((uri, token)) = without_token(request.uri()) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(token);
    }
    request
}

pub(crate) fn without_token(uri: &Uri) -> Option<(Uri, Token)> {
    const NAME: &str = "fal_jwt_token=";
    let (found, rest): (Vec<_>, Vec<_>) = uri.query()?.split('&').partition(|pair| pair.starts_with(NAME));
    let token = Token::presented(found.first()?.strip_prefix(NAME)?);
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    let path_and_query: PathAndQuery = format!("{}{query}", uri.path()).parse().ok()?;
    Some((Uri::from(path_and_query), token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leaves_the_query_and_the_rest_stays() {
        let taken = |uri: &'static str| {
            let (uri, token) = without_token(&Uri::from_static(uri))?;
            assert!(!format!("{token:?}").contains("abc"), "a token does not print");
            Some((uri.to_string(), token.reveal().to_owned()))
        };
        let expected = |uri: &str| Some((uri.to_owned(), "abc".to_owned()));
        assert_eq!(taken("/run/a/b/stream?fal_jwt_token=abc"), expected("/run/a/b/stream"));
        assert_eq!(taken("/queue/a?logs=0&fal_jwt_token=abc"), expected("/queue/a?logs=0"));
        assert_eq!(taken("/queue/a?fal_jwt_token=abc&x=1&fal_jwt_token=def"), expected("/queue/a?x=1"));
        assert_eq!(taken("/queue/a?logs=0"), None);
        assert_eq!(taken("/queue/a"), None);
    }
}
