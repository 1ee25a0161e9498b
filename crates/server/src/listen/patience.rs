//! Bodies that stop coming, and bodies that nobody reads to their end.
//!
//! Whoever announces a body and sends no more of it would hold a place among the connections for ever. And whoever is
//! refused while they send would not hear of it, if the connection ended under them: what they still send is read and
//! thrown away for a while, as the answer goes out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use futures::future::poll_fn;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// How much is read of a body that was refused…
const LEFT_BYTES: usize = 256 * 1024 * 1024;
/// …for how long…
const LEFT: Duration = Duration::from_secs(10);
/// …and for how long at most where nothing comes of it.
const LEFT_PAUSE: Duration = Duration::from_secs(2);

/// A body that breaks off when nothing comes for a while. Only a reader who waits is kept waiting.
pub(super) struct Patient<B> {
    /// Here until the end of this.
    body: Option<B>,
    patience: Duration,
    /// Runs while a reader waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether anybody wanted any of it.
    was_read: bool,
    /// Who gets what its reader left.
    leftover: Option<oneshot::Sender<Leftover<B>>>,
}

/// What the reader of a body has left of it.
pub(super) struct Leftover<B> {
    body: B,
    patience: Duration,
    /// Whether anything of it was read.
    pub(super) was_read: bool,
}

impl<B> Patient<B> {
    /// With the place where what is left of it will be, once its reader has dropped it.
    pub(super) fn new(body: B, patience: Duration) -> (Self, oneshot::Receiver<Leftover<B>>) {
        let (leftover, left) = oneshot::channel();
        let this = Self { body: Some(body), patience, waiting: None, was_read: false, leftover: Some(leftover) };
        (this, left)
    }
}

impl<B> HttpBody for Patient<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, patience, waiting, was_read, .. } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        *was_read = true;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            *waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let waiting = waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(*patience)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err("nothing came of the body for too long".into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl<B> Drop for Patient<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(leftover)) = (self.body.take(), self.leftover.take()) {
            // nobody takes it from a caller who has gone
            let patience = self.patience.min(LEFT_PAUSE);
            let _ = leftover.send(Leftover { body, patience, was_read: self.was_read });
        }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Leftover<B> {
    /// Whether there is nothing more of it.
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Reads it to its end, within bounds.
    pub(super) async fn discard(mut self) {
        let reading = async {
            let mut left = LEFT_BYTES;
            loop {
                let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
                let Ok(Some(Ok(frame))) = tokio::time::timeout(self.patience, frame).await else { return };
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(LEFT, reading).await;
    }
}
