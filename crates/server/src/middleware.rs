//! What every response gets, in one place, with reasons.

use std::any::Any;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use scumble_api::{ErrorAnswer, ErrorType};
use tower_http::cors::{AllowHeaders, CorsLayer};
use tracing::Instrument;

use crate::answer::{REQUEST_ID, Refusal};
use crate::routes::LIST_BYTES_MAX;
use crate::state::AppState;

/// Every response carries a request id: clients show it, and without it the Python client retries what it should not. It is
/// the job's where it is about one, else that of the request, which the lines of the log about it have too.
pub(crate) async fn identified(mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::new_v4();
    request.extensions_mut().insert(RequestId(id));
    let span = tracing::error_span!("request", request.id = %id);
    let response = next.run(request).instrument(span).await;
    RequestId(id).on(response)
}

/// The id of a request; an extension of it.
#[derive(Clone, Copy)]
pub(crate) struct RequestId(uuid::Uuid);

impl RequestId {
    /// For who is refused before there is a request to speak of.
    pub(crate) fn new() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The answer with this id, unless it has one.
    pub(crate) fn on(self, mut response: Response) -> Response {
        if !response.headers().contains_key(REQUEST_ID)
            && let Ok(value) = HeaderValue::from_str(&self.0.to_string())
        {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

/// How long who was told that something is not possible now should wait, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Whoever is told that something is not possible now is told when to come back.
pub(crate) fn with_retry_after(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(header::RETRY_AFTER).or_insert(RETRY_AFTER);
    }
    response
}

/// Browsers call from any origin; access is by key, by cookie only for what comes from a page of ours. `Authorization`
/// must be named, so the request's own list is mirrored.
pub(crate) fn cors() -> CorsLayer {
    const EXPOSED: [&str; 13] = [
        "etag",
        "x-request-id",
        "x-fal-request-id",
        "x-fal-billable-units",
        "x-fal-served-from",
        "x-fal-request-timeout-type",
        "x-fal-error-type",
        "x-fal-retryable",
        "x-fal-needs-retry",
        "x-fal-runner-hints",
        "x-scumble-stand-in",
        "x-scumble-maker",
        "x-scumble-cost-usd",
    ];
    CorsLayer::new()
        .allow_origin(tower_http::cors::Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        // as long as browsers keep it, which is less
        .max_age(Duration::from_secs(24 * 60 * 60))
        .expose_headers(EXPOSED.map(HeaderName::from_static))
}

/// A mistake of ours costs one request, not the server. The panic itself goes to the log only.
#[expect(clippy::needless_pass_by_value, reason = "the signature that CatchPanicLayer asks for")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("(no text)"), "a handler panicked");
    Refusal::from(ErrorAnswer::typed(ErrorType::InternalError, "Internal Server Error")).into_response()
}

/// Where the bytes of files are put.
const UPLOADS: [&str; 3] = ["/cdn/put/", "/cdn/files/", "/files/"];

/// Whether the body of a request is a file, which is written as it comes.
pub(crate) fn is_upload(request: &Request) -> bool {
    let path = request.uri().path();
    let is_put = *request.method() == Method::PUT && UPLOADS.iter().any(|folder| path.starts_with(folder));
    is_put || path == "/cdn/files/upload"
}

/// Refuses a body that says of itself that nobody here reads so much, before it is sent. Uploads have limits of their own.
pub(crate) async fn long_bodies(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let limit = state.config.body_bytes.max(LIST_BYTES_MAX);
    if !is_upload(&request) && request.body().size_hint().lower() > limit as u64 {
        return Refusal::plain(413, "The request body is too large for this server").into_response();
    }
    next.run(request).await
}

/// Clients drop error bodies that are not JSON: whatever the framework itself refuses becomes `{"detail": …}`.
pub(crate) fn errors_in_json(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let is_page = response.headers().get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"text/html"));
    if is_json || is_page || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if let Some(refusal) = allowed(response.headers()).filter(|_| status == StatusCode::METHOD_NOT_ALLOWED) {
        return refusal.into_response();
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "Not Found",
        StatusCode::METHOD_NOT_ALLOWED => "Method Not Allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "The request body is too large for this server",
        other => other.canonical_reason().unwrap_or("Error"),
    };
    Refusal::plain(status.as_u16(), detail).into_response()
}

/// The refusal of a method, where the framework has named those that there are.
pub(crate) fn allowed(headers: &HeaderMap) -> Option<Refusal> {
    let named = headers.get(header::ALLOW)?.to_str().ok()?;
    let methods: Vec<&str> = named.split(',').map(str::trim).collect();
    Some(wrong_method(&methods.join(", ")))
}

/// Something is there, but not for this method.
pub(crate) fn wrong_method(allowed: &str) -> Refusal {
    Refusal::plain(405, &format!("Method Not Allowed: this path takes {allowed}")).with("allow", allowed)
}
