//! Outcomes and errors as HTTP answers.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use scumble_api::{Delivered, ErrorAnswer, ErrorType, own_files};
use scumble_files::Files;
use scumble_store::{JobId, Outcome};
use serde_json::Value;

use crate::addressing::{Caller, Service};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-fal-request-id");

/// An answer that is not what the caller hoped for; for `?` in handlers.
#[derive(Debug)]
pub(crate) struct Refusal(ErrorAnswer);

impl Refusal {
    pub(crate) fn plain(status: u16, detail: &str) -> Self {
        Self(ErrorAnswer::plain(status, detail))
    }

    /// With a header.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers.push((name, value.to_owned()));
        self
    }

    /// What the caller gets.
    pub(crate) fn answer(&self) -> &ErrorAnswer {
        &self.0
    }
}

impl From<ErrorAnswer> for Refusal {
    fn from(answer: ErrorAnswer) -> Self {
        Self(answer)
    }
}

impl From<scumble_store::Error> for Refusal {
    fn from(error: scumble_store::Error) -> Self {
        tracing::error!(%error, "the database refused");
        Self(ErrorAnswer::typed(ErrorType::InternalError, "The server cannot reach its database; its log says why"))
    }
}

impl From<scumble_files::Error> for Refusal {
    fn from(error: scumble_files::Error) -> Self {
        if let scumble_files::Error::TooLarge { limit } = error {
            return Self::plain(413, &format!("The file is too large: this server takes {limit} bytes"));
        }
        tracing::error!(%error, "the file store refused");
        if error.passes() {
            let detail = "The server cannot reach its files now; send the request again later. Its log says why";
            return Self(ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, detail));
        }
        Self(ErrorAnswer::typed(ErrorType::InternalError, "The server cannot reach its files; its log says why"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(ErrorAnswer { status, body, headers }) = self;
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        with_headers((status_code(status), Json(body)).into_response(), headers)
    }
}

/// A job's outcome as the model's own answer: status, headers and body as they were, URLs as this caller needs them.
pub(crate) async fn outcome(id: JobId, outcome: Outcome, files: &Files, caller: &Caller) -> Response {
    let Outcome { status, mut body, headers, .. } = outcome;
    // an error repeats what the caller wrote, and has no files
    if status < 400
        && let Err(error) = resolve_urls(&mut body, files, caller).await
    {
        return about(id, Refusal::from(error).into_response());
    }
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    about(id, with_headers((status_code(status), Json(body)).into_response(), headers))
}

/// Marks a response as being about a request.
pub(crate) fn about(id: JobId, mut response: Response) -> Response {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// With more headers; what is not fit for one is left out.
pub(crate) fn with_headers<'a>(mut response: Response, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Response {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Puts what this caller can use in the place of every file of ours in an output: a URL, or a data URI.
pub(crate) async fn resolve_urls(body: &mut Value, files: &Files, caller: &Caller) -> scumble_files::Result<()> {
    for file in own_files(body) {
        *file.place = match file.delivered {
            Delivered::AsUrl => caller.url(Service::Cdn, &format!("/files/{}", file.path)),
            Delivered::Inline => match file.path.parse() {
                Ok(path) => files.data_uri(&path).await?,
                // only paths that the worker wrote come here
                Err(_) => String::new(),
            },
        };
    }
    Ok(())
}
