//! What a caller sends, held in memory only once it is known that they may send it.
//!
//! This is the one way of a handler to a body: whoever is turned away is turned away before the first byte of it is
//! read. (What is written away as it comes, such as uploads, takes the stream itself, after its own check.)

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};

use crate::answer::Refusal;
use crate::state::AppState;

/// The most of a form with a few words in it, in bytes.
pub(crate) const FORM: usize = 8 * 1024;
/// The most of a JSON body that asks for something small, in bytes.
pub(crate) const SMALL: usize = 64 * 1024;

/// A body, and the proof that whoever sent it may: `By` is extracted first. Of [`FORM`], [`SMALL`] and what the owner
/// allows, the smallest counts.
pub(crate) struct Sent<By, const BYTES_MAX: usize = { usize::MAX }> {
    /// Who sent it.
    pub(crate) by: By,
    /// What they sent.
    pub(crate) body: Bytes,
}

impl<By, const BYTES_MAX: usize> FromRequest<AppState> for Sent<By, BYTES_MAX>
where
    By: FromRequestParts<AppState, Rejection: From<Refusal>> + Send,
{
    type Rejection = By::Rejection;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let by = By::from_request_parts(&mut parts, state).await?;
        let mut request = Request::from_parts(parts, body);
        DefaultBodyLimit::max(BYTES_MAX.min(state.config.body_bytes)).apply(&mut request);
        let body = Bytes::from_request(request, state).await.map_err(|why| unread(&why))?;
        Ok(Self { by, body })
    }
}

/// A body that did not come, or is too long.
pub(crate) fn unread(why: &BytesRejection) -> Refusal {
    match why {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Refusal::plain(413, "The request body is too large for this server")
        }
        _ => Refusal::plain(400, "The request body ended before all of it was here"),
    }
}
