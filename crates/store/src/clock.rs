//! Where the time comes from.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time, in milliseconds since 1970 (UTC).
///
/// The store never asks the machine itself, so that tests can let an hour pass without waiting for it.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970 (UTC).
    fn now_ms(&self) -> i64;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A machine whose clock stands before 1970 gets 0 rather than an error nobody could act on.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands still until it is moved; for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Lets `ms` milliseconds pass.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock to `now_ms`.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Notices that the clock was set back.
///
/// Leases, rests and the next attempts of deliveries end at points in time. Where the clock is set back, these lie too
/// far ahead: by years, where a machine has begun with a wrong clock. Whoever looks after leases looks here first.
#[derive(Debug)]
pub(crate) struct Setback {
    latest_ms: AtomicI64,
}

/// What to do about points in time that lie too far ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// The time now.
    pub(crate) now_ms: i64,
    /// What lies further ahead than this…
    pub(crate) beyond_ms: i64,
    /// …comes sooner by this, and is then between now and [`FAR_MS`] from now.
    pub(crate) by_ms: i64,
}

/// Longer than anything here waits: retries of webhooks rest for up to an hour and a half.
pub(crate) const FAR_MS: i64 = 2 * 60 * 60 * 1000;

/// A clock that goes back by less is merely kept right.
const KEPT_RIGHT_MS: i64 = 60 * 1000;

impl Default for Setback {
    fn default() -> Self {
        Self { latest_ms: AtomicI64::new(i64::MIN) }
    }
}

impl Setback {
    /// What has to be shifted. The first look cannot know by how much the clock was set back, and brings what lies
    /// further ahead than anything could as near as the furthest.
    pub(crate) fn shift(&self, now_ms: i64) -> Option<Shift> {
        let latest_ms = self.latest_ms.load(Ordering::SeqCst);
        if latest_ms == i64::MIN {
            return Some(Shift { now_ms, beyond_ms: FAR_MS, by_ms: 0 });
        }
        let by_ms = latest_ms.saturating_sub(now_ms);
        // what was due already when the clock was set back lies nearer than that, and what has been written since
        // nearer still
        (by_ms > KEPT_RIGHT_MS).then(|| Shift { now_ms, beyond_ms: by_ms.min(FAR_MS) / 2, by_ms })
    }

    /// Somebody has looked, and shifted what there was.
    pub(crate) fn looked(&self, now_ms: i64) {
        self.latest_ms.store(now_ms, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_on_needs_nothing() {
        let (setback, day) = (Setback::default(), 24 * 60 * 60 * 1000);
        let first = Shift { now_ms: day, beyond_ms: FAR_MS, by_ms: 0 };
        assert_eq!(setback.shift(day), Some(first));
        assert_eq!(setback.shift(day), Some(first), "until somebody has done it");
        setback.looked(day);
        for now_ms in [day, day + 1, 2 * day, day - KEPT_RIGHT_MS] {
            assert_eq!(setback.shift(now_ms), None);
        }
        let hour = day / 24;
        let shift = Shift { now_ms: day - hour, beyond_ms: hour / 2, by_ms: hour };
        assert_eq!(setback.shift(day - hour), Some(shift));
        assert_eq!(setback.shift(0), Some(Shift { now_ms: 0, beyond_ms: FAR_MS / 2, by_ms: day }));
        setback.looked(0);
        assert_eq!(setback.shift(1), None);
    }
}
