//! The bytes of a connection, watched on their way: heads that begin, callers who do not take their answers, and the
//! answers that the HTTP library gives by itself to what is no request.
//!
//! Those have no body, and no request id; clients show the text of JSON errors and nothing else. So in the place of
//! each goes one of ours, in the words of the API that was called, as far as the beginning of the head tells.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use scumble_api::{ErrorAnswer, OpenAiError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::course::{Course, Heard};
use super::room::Place;
use crate::prefix::Prefix;
use crate::routes::speaks_openai;

/// How much is read of what comes after a refused head…
const LINGER_BYTES: usize = 1024 * 1024;
/// …and for how long: hanging up on bytes under way would take the answer from the caller.
const LINGER: Duration = Duration::from_secs(2);

/// How much of the beginning of a head is kept: a method, a base path and what tells one API from the other.
const BEGINNING_BYTES: usize = 512;

/// A connection's bytes.
pub(super) struct Wire<I> {
    io: I,
    course: Arc<Course>,
    /// How the head begins that came last.
    beginning: Vec<u8>,
    /// The path below which a proxy shows this server.
    base_path: Prefix,
    /// Held as long as the bytes can flow: a WebSocket outlives the requests of its connection.
    _place: Option<Arc<Place>>,
    /// How long the other side may take nothing of what is sent.
    patience: Duration,
    /// Runs while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is sent in the place of an answer without a body, and how much of it is out.
    own: Option<(Vec<u8>, usize)>,
    /// What may be read and thrown away before the end.
    linger: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wire<I> {
    pub(super) fn new(io: I, course: Arc<Course>, place: Option<Arc<Place>>, patience: Duration) -> Self {
        let (beginning, base_path) = (Vec::new(), Prefix::default());
        Self { io, course, beginning, base_path, _place: place, patience, stalled: None, own: None, linger: None }
    }

    /// Behind a proxy that leaves this path in front of all others.
    pub(super) fn below(self, base_path: Prefix) -> Self {
        Self { base_path, ..self }
    }

    /// Bytes that have come.
    fn heard(&mut self, bytes: &[u8]) {
        match self.course.heard() {
            Heard::Begins => self.beginning.clear(),
            Heard::GoesOn => {}
            Heard::Other => return,
        }
        let room = BEGINNING_BYTES.saturating_sub(self.beginning.len());
        self.beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whether these bytes are an answer of the library's own; ours then waits in its place.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if !self.course.is_quiet() || self.own.is_some() {
            return false;
        }
        let Some(status) = refused(bytes) else { return false };
        self.own = Some((answer(status, asks_openai(&self.beginning, &self.base_path)), 0));
        true
    }

    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, sent)) = &mut self.own
            && *sent < bytes.len()
        {
            match ready!(Pin::new(&mut self.io).poll_write(context, &bytes[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *sent += more,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ends a connection on which nothing can be sent for too long.
    fn patiently<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing of what is sent")))
    }

    /// Reads what is still coming, within bounds.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (left, timer) = self.linger.get_or_insert_with(|| (LINGER_BYTES, Box::pin(tokio::time::sleep(LINGER))));
        let mut room = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Pending => return timer.as_mut().poll(context),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => match buffer.filled().len() {
                    0 => return Poll::Ready(()),
                    more if more > *left => return Poll::Ready(()),
                    more => *left -= more,
                },
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            this.heard(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = Pin::new(&mut this.io).poll_write(context, bytes);
        this.patiently(context, sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if pieces.first().is_some_and(|first| this.replaces(first)) {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let sent = Pin::new(&mut this.io).poll_write_vectored(context, pieces);
        this.patiently(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = match this.poll_own(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.io).poll_flush(context),
            other => other,
        };
        ready!(this.patiently(context, sent))?;
        this.course.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let ended = match this.poll_own(context) {
                Poll::Ready(Ok(())) => Pin::new(&mut this.io).poll_shutdown(context),
                other => other,
            };
            ready!(this.patiently(context, ended))?;
        }
        if this.own.is_some() {
            ready!(this.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer's head, where it is one that refuses what came.
fn refused(head: &[u8]) -> Option<StatusCode> {
    let code = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(code).ok().filter(StatusCode::is_client_error)
}

/// Whether a head that begins like this is for OpenAI's API.
fn asks_openai(beginning: &[u8], base_path: &Prefix) -> bool {
    let line = String::from_utf8_lossy(beginning);
    let Some(target) = line.trim_start_matches(['\r', '\n']).split(' ').nth(1) else { return false };
    // an absolute URL is a target too
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = path.split(['?', '\r', '\n']).next().unwrap_or_default();
    speaks_openai(base_path.strip(path).unwrap_or(path))
}

/// A refusal of what is no request, complete.
fn answer(status: StatusCode, to_openai: bool) -> Vec<u8> {
    let detail = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "The head of this request is larger than this server reads: shorten its URL or its headers"
        }
        StatusCode::URI_TOO_LONG => {
            "The URL of this request is longer than this server reads: send an input as the body"
        }
        _ => "This is not an HTTP request: its first line or its headers cannot be read",
    };
    let (answer, id) = (ErrorAnswer::plain(status.as_u16(), detail), uuid::Uuid::new_v4());
    let (body, their_id) = match to_openai {
        true => (OpenAiError::of(&answer).body().to_string(), format!("x-request-id: {id}\r\n")),
        false => (answer.body.to_string(), String::new()),
    };
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-fal-request-id: \
         {id}\r\n{their_id}access-control-allow-origin: *\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_head_tells_which_api_it_is_for() {
        let base = Prefix::parse("/scumble").unwrap_or_default();
        let asks = |text: &str| asks_openai(text.as_bytes(), &base);
        for theirs in [
            "GET /v1/models?xxxx",
            "GET /v1 HTTP/1.1\r\n",
            "\r\nPOST /v1/images/generations HTTP/1.1\r\nhost: a",
            "GET /scumble/v1/models HTTP/1.1",
            "GET http://a.test/v1/models HTTP/1.1",
        ] {
            assert!(asks(theirs), "{theirs}");
        }
        for ours in ["", "GET", "GET ", "GET /v1x HTTP/1.1", "GET /run/v1/a HTTP/1.1", "GET / HTTP/1.1\r\na: /v1/"] {
            assert!(!asks(ours), "{ours}");
        }
    }

    #[test]
    fn only_refusals_are_replaced() {
        assert_eq!(refused(b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n").map(|s| s.as_u16()), Some(431));
        assert_eq!(refused(b"HTTP/1.0 400 Bad Request\r\n\r\n").map(|s| s.as_u16()), Some(400));
        for other in [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 4", b"HTTP/2 400", b""]
        {
            assert_eq!(refused(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
