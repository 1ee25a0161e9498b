//! What a caller reads who does not get pictures.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use scumble_api::{ErrorAnswer, OpenAiError};
use scumble_store::{JobId, Outcome};

use crate::answer::{Refusal, about};

/// Clients of OpenAI's ask again after a 5xx unless this says no.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An answer in OpenAI's envelope; for `?` in handlers.
#[derive(Debug)]
pub(in crate::routes) struct Refused {
    pub(super) error: OpenAiError,
    headers: Headers,
    /// The request it is about, where there is one.
    about: Option<JobId>,
}

/// Not a map, so that an error stays small.
type Headers = Vec<(HeaderName, HeaderValue)>;

/// On a response: its body is in OpenAI's envelope already.
#[derive(Clone)]
pub(super) struct InEnvelope;

impl Refused {
    /// The outcome of a request that made nothing.
    pub(super) fn outcome(id: JobId, outcome: Outcome) -> Self {
        let mut headers = headers(outcome.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if headers.iter().any(|(name, value)| name == "x-fal-retryable" && value == "false") {
            headers.push((SHOULD_RETRY, HeaderValue::from_static("false")));
        }
        let answer = ErrorAnswer { status: outcome.status, body: outcome.body, headers: Vec::new() };
        Self { error: OpenAiError::of(&answer), headers, about: Some(id) }
    }

    /// A request that is not there any more.
    pub(super) fn gone(id: JobId) -> Self {
        Self { about: Some(id), ..Refusal::plain(404, "Request not found").into() }
    }
}

impl From<OpenAiError> for Refused {
    fn from(error: OpenAiError) -> Self {
        Self { error, headers: Vec::new(), about: None }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let answer = refusal.answer();
        let headers = headers(answer.headers.iter().map(|(name, value)| (*name, value.as_str())));
        Self { error: OpenAiError::of(answer), headers, about: None }
    }
}

impl From<scumble_store::Error> for Refused {
    fn from(error: scumble_store::Error) -> Self {
        Refusal::from(error).into()
    }
}

impl From<scumble_files::Error> for Refused {
    fn from(error: scumble_files::Error) -> Self {
        Refusal::from(error).into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.error.body())).into_response();
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(InEnvelope);
        match self.about {
            Some(id) => about(id, response),
            None => response,
        }
    }
}

fn headers<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Headers {
    headers.filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect()
}
