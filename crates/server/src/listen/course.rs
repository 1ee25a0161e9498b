//! What a connection is about, and how long it may be about it: it waits for a request, the head of one is coming, or
//! requests are being answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may be without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until the first request begins, and until any head that has begun is there.
    pub(super) head: Duration,
    /// Until the next request begins.
    pub(super) idle: Duration,
}

/// How a connection goes. Its requests, the bytes on the wire and its end are seen in different places.
pub(super) struct Course {
    at: Mutex<At>,
    /// Whether requests come one after the other, and not several at once.
    is_serial: bool,
}

/// How it stands.
struct At {
    patience: Patience,
    /// Requests that are being answered.
    in_flight: usize,
    /// Whether the end of an answer may still be on its way to the wire.
    is_unflushed: bool,
    /// Whether something else has taken the connection over: a WebSocket, a tunnel.
    is_handed_over: bool,
    /// How long it may stay as it is, where no request is being answered.
    until: Instant,
    /// Whether a part of a head is there.
    has_begun: bool,
}

/// What bytes are that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The first of a request's head.
    Begins,
    /// More of a head.
    GoesOn,
    /// Anything else: a body, a WebSocket, HTTP/2.
    Other,
}

/// A request that is being answered.
pub(super) struct InFlight(Arc<Course>);

impl Course {
    pub(super) fn new(patience: Patience, is_serial: bool) -> Arc<Self> {
        Arc::new(Self { at: Mutex::new(At::new(patience, Instant::now())), is_serial })
    }

    /// Bytes have come. Where no request is being answered they are the beginning of one.
    pub(super) fn heard(&self) -> Heard {
        if self.is_serial { self.at().heard(Instant::now()) } else { Heard::Other }
    }

    /// A request is here.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.at().asked();
        InFlight(self.clone())
    }

    /// Everything that was to be sent is sent.
    pub(super) fn flushed(&self) {
        self.at().flushed();
    }

    /// The server ends: what is not a request by now has this long.
    pub(super) fn close(&self, goodbye: Duration) {
        self.at().close(goodbye, Instant::now());
    }

    /// From now on this is a WebSocket or a tunnel, which have their own rules.
    pub(super) fn hand_over(&self) {
        self.at().is_handed_over = true;
    }

    /// Whether no request of ours is being answered, so that what is sent now is the protocol's own.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_serial && self.at().is_quiet()
    }

    /// Whether requests come one after the other.
    pub(super) const fn is_serial(&self) -> bool {
        self.is_serial
    }

    /// Until the connection has been without a request for too long. It looks now and then, so that requests need not
    /// tell it anything; a head that comes late may have up to twice its time.
    pub(super) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let (until, look) = {
                let at = self.at();
                (at.until(), now + at.patience.head)
            };
            if until.is_some_and(|until| until <= now) {
                return;
            }
            tokio::time::sleep_until(until.map_or(look, |until| until.min(look))).await;
        }
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.at().answered(Instant::now());
    }
}

impl At {
    fn new(patience: Patience, now: Instant) -> Self {
        let until = now + patience.head;
        Self { patience, in_flight: 0, is_unflushed: false, is_handed_over: false, until, has_begun: false }
    }

    fn heard(&mut self, now: Instant) -> Heard {
        if self.in_flight > 0 || self.is_handed_over {
            return Heard::Other;
        }
        if self.has_begun {
            return Heard::GoesOn;
        }
        self.has_begun = true;
        self.until = now + self.patience.head;
        Heard::Begins
    }

    fn asked(&mut self) {
        self.in_flight += 1;
        self.is_unflushed = true;
        self.has_begun = false;
    }

    fn answered(&mut self, now: Instant) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.until = now + self.patience.idle;
        }
    }

    fn flushed(&mut self) {
        if self.in_flight == 0 {
            self.is_unflushed = false;
        }
    }

    fn close(&mut self, goodbye: Duration, now: Instant) {
        self.patience = Patience { head: goodbye, idle: goodbye };
        self.until = self.until.min(now + goodbye);
    }

    fn is_quiet(&self) -> bool {
        self.in_flight == 0 && !self.is_unflushed && !self.is_handed_over
    }

    /// The end of its time; `None` while it has all the time it needs.
    fn until(&self) -> Option<Instant> {
        (self.in_flight == 0 && !self.is_handed_over).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    #[test]
    fn a_first_head_is_short_and_the_pause_after_an_answer_is_long() {
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let mut at = At::new(PATIENCE, start);
        assert_eq!(at.until(), Some(second(10)), "nothing was said");
        assert_eq!([at.heard(second(9)), at.heard(second(18))], [Heard::Begins, Heard::GoesOn]);
        assert_eq!(at.until(), Some(second(19)), "more bytes of a head buy no more time");
        at.asked();
        assert_eq!(at.until(), None, "an answer has its time");
        assert_eq!(at.heard(second(20)), Heard::Other, "a body");
        at.answered(second(100));
        assert_eq!(at.until(), Some(second(175)), "kept alive for the next one");
        assert_eq!(at.heard(second(160)), Heard::Begins);
        assert_eq!(at.until(), Some(second(170)), "the next one has begun");
    }

    #[test]
    fn several_at_once_are_over_with_the_last() {
        let start = Instant::now();
        let mut at = At::new(PATIENCE, start);
        at.asked();
        at.asked();
        at.answered(start);
        assert_eq!(at.until(), None);
        at.answered(start);
        assert!(at.until().is_some());
        at.is_handed_over = true;
        assert_eq!(at.until(), None, "a WebSocket has rules of its own");
    }

    #[test]
    fn at_the_end_only_requests_have_time() {
        let start = Instant::now();
        let goodbye = Duration::from_secs(1);
        let mut idle = At::new(PATIENCE, start);
        idle.close(goodbye, start);
        assert_eq!(idle.until(), Some(start + goodbye));
        let mut busy = At::new(PATIENCE, start);
        busy.asked();
        busy.close(goodbye, start);
        assert_eq!(busy.until(), None);
        busy.answered(start + Duration::from_secs(30));
        assert_eq!(busy.until(), Some(start + Duration::from_secs(31)));
    }

    #[test]
    fn a_connection_is_quiet_once_its_answer_is_out() {
        let start = Instant::now();
        let mut at = At::new(PATIENCE, start);
        assert!(at.is_quiet());
        at.asked();
        at.flushed();
        assert!(!at.is_quiet());
        at.answered(start);
        assert!(!at.is_quiet(), "its end may be in a buffer");
        at.flushed();
        assert!(at.is_quiet());
        assert!(!Course::new(PATIENCE, false).is_quiet(), "of several at once nobody knows");
    }
}
