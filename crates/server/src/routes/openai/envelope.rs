//! What every answer below `/v1` has: a request id under OpenAI's name, and errors in OpenAI's envelope, whoever says no.

use std::panic::AssertUnwindSafe;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use scumble_api::{ErrorAnswer, OpenAiError};
use serde_json::Value;

use super::refused::{InEnvelope, Refused};
use crate::answer::{REQUEST_ID, Refusal};
use crate::middleware::{RequestId, allowed, panicked};

const THEIR_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest refusal that is put into an envelope; ours are shorter.
const REFUSAL_BYTES: usize = 256 * 1024;

/// Whether a path is one of OpenAI's API.
pub(crate) fn speaks_openai(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// What is refused before any route is asked, in the words of whoever asked for this path.
pub(crate) fn refused_as_asked(path: &str, refusal: Refusal) -> Response {
    match speaks_openai(path) {
        true => with_their_id(RequestId::new(), Refused::from(refusal).into_response()),
        false => refusal.into_response(),
    }
}

/// A panic is caught here, so that it too has its envelope.
pub(in crate::routes) async fn envelope(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !speaks_openai(path) {
        return next.run(request).await;
    }
    let id = request.extensions().get().copied().unwrap_or_else(RequestId::new);
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked);
    with_their_id(id, in_envelope(response).await)
}

fn with_their_id(id: RequestId, response: Response) -> Response {
    let mut response = id.on(response);
    if let Some(id) = response.headers().get(REQUEST_ID).cloned() {
        response.headers_mut().insert(THEIR_REQUEST_ID, id);
    }
    response
}

async fn in_envelope(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<InEnvelope>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let mut error = error(status, body).await;
    if let Some(refusal) = allowed(&parts.headers).filter(|_| status == StatusCode::METHOD_NOT_ALLOWED) {
        error.message = refusal.answer().message();
    }
    let mut response = Refused::from(error).into_response();
    for (name, value) in parts.headers.iter().filter(|(name, _)| !is_about_body(name)) {
        response.headers_mut().insert(name, HeaderValue::clone(value));
    }
    response
}

/// What the refusal said, as far as it is one of ours.
async fn error(status: StatusCode, body: Body) -> OpenAiError {
    let said = to_bytes(body, REFUSAL_BYTES).await.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    match said.filter(|body| body.get("detail").is_some()) {
        Some(body) => OpenAiError::of(&ErrorAnswer { status: status.as_u16(), body, headers: Vec::new() }),
        None => {
            let detail = match status {
                StatusCode::PAYLOAD_TOO_LARGE => "The request body is too large for this server",
                other => other.canonical_reason().unwrap_or("Error"),
            };
            OpenAiError::of(&ErrorAnswer::plain(status.as_u16(), detail))
        }
    }
}

fn is_about_body(name: &HeaderName) -> bool {
    [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING].contains(name)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn asked(path: &str) -> (StatusCode, bool, Value) {
        async fn boom() -> &'static str {
            panic!("the test asked for it")
        }
        let routes = Router::new().route("/v1/boom", get(boom));
        let routes = routes.route("/v1/no", get(|| async { Refusal::plain(403, "It is not for you") }));
        let routes = routes.layer(from_fn(envelope));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = routes.oneshot(request).await.expect("an answer");
        let (status, has_id) = (response.status(), response.headers().contains_key(THEIR_REQUEST_ID));
        let body = to_bytes(response.into_body(), REFUSAL_BYTES).await.expect("a body");
        (status, has_id, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn whoever_says_no_and_a_panic_too() {
        let (status, has_id, body) = asked("/v1/boom").await;
        assert_eq!((status.as_u16(), has_id, &body["error"]["type"]), (500, true, &"server_error".into()));
        let (status, has_id, body) = asked("/v1/no").await;
        assert_eq!((status.as_u16(), has_id, &body["error"]["type"]), (403, true, &"permission_error".into()));
        assert_eq!(body["error"]["message"], "It is not for you");
        assert!(!asked("/elsewhere").await.1);
    }
}
