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
use tokio::time::{Instant, Sleep};

/// How much is read of a body that was refused…
const LEFT_BYTES: usize = 256 * 1024 * 1024;
/// …for how long…
const LEFT: Duration = Duration::from_secs(10);
/// …and for how long at most where nothing comes of it.
const LEFT_PAUSE: Duration = Duration::from_secs(2);

/// A body that breaks off when nothing comes for a while, or so little that it would take for ever. Only a reader who waits
/// is kept waiting.
pub(super) struct Patient<B> {
    /// Here until the end of this.
    body: Option<B>,
    patience: Duration,
    /// What is left of the reader's time, which grows with what comes.
    time: Time,
    /// Runs while a reader waits, since then.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
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

/// How long a reader may wait for a body, all pauses together.
struct Time {
    left: Duration,
    /// How much more each byte gives.
    per_byte: Duration,
}

impl Time {
    /// So long at first, and then as long as bytes take that come at this rate (bytes in a second).
    fn new(first: Duration, rate: u64) -> Self {
        Self { left: first, per_byte: Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX) }
    }

    /// So many bytes came after a wait.
    fn came(&mut self, bytes: usize, waited: Duration) {
        let more = self.per_byte.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.left = self.left.saturating_sub(waited).saturating_add(more);
    }
}

impl<B> Patient<B> {
    /// With the place where what is left of it will be, once its reader has dropped it. A pause is as long as `patience` at
    /// most, and all together are that long and what so many bytes in a second (`rate`) take.
    pub(super) fn new(body: B, patience: Duration, rate: u64) -> (Self, oneshot::Receiver<Leftover<B>>) {
        let (leftover, left) = oneshot::channel();
        let time = Time::new(patience, rate);
        let this = Self { body: Some(body), patience, time, waiting: None, was_read: false, leftover: Some(leftover) };
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
        let Self { body, patience, time, waiting, was_read, .. } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        *was_read = true;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            let waited = waiting.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            time.came(bytes, waited);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let longest = time.left.min(*patience);
        let (_, waiting) = waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(longest))));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err("nothing, or too little, came of the body for too long".into()))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drips_use_the_time_up_and_a_slow_line_does_not() {
        let second = Duration::from_secs(1);
        let mut drip = Time::new(60 * second, 1024);
        (0..59).for_each(|_| drip.came(1, second));
        assert!(drip.left > Duration::ZERO && drip.left < 2 * second, "{:?}", drip.left);
        (0..3).for_each(|_| drip.came(1, second));
        assert!(drip.left < second / 100, "{:?}", drip.left);
        let mut slow = Time::new(60 * second, 1024);
        (0..100_000).for_each(|_| slow.came(2048, second));
        assert!(slow.left > 60 * second);
        slow.came(usize::MAX, second);
        slow.came(0, Duration::MAX);
        assert_eq!(slow.left, Duration::ZERO);
    }
}
