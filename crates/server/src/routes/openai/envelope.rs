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
use crate::answer::REQUEST_ID;
use crate::middleware::{panicked, with_request_id};

const THEIR_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest refusal that is put into an envelope; ours are shorter.
const REFUSAL_BYTES: usize = 256 * 1024;

/// A panic is caught here, so that it too has its envelope.
pub(in crate::routes) async fn envelope(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/v1" && !path.starts_with("/v1/") {
        return next.run(request).await;
    }
    let asked = format!("{} {path}", request.method());
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked);
    let mut response = with_request_id(in_envelope(&asked, response).await);
    if let Some(id) = response.headers().get(REQUEST_ID).cloned() {
        response.headers_mut().insert(THEIR_REQUEST_ID, id);
    }
    response
}

async fn in_envelope(asked: &str, response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<InEnvelope>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let mut error = error(status, body).await;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed =
            parts.headers.get(header::ALLOW).and_then(|value| value.to_str().ok()).unwrap_or("another method");
        error.message = format!("{asked} is not possible; there is {allowed}");
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
