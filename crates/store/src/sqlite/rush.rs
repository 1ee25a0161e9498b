//! Claims let a rush of submits pass.
//!
//! Who submits waits for the answer, and a thousand who come at once share the processor and the writer with whoever works
//! on what they bring. A job takes much longer than the few milliseconds that its claim waits here; its acknowledgement
//! does not.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many submits within [`WINDOW`] are a rush.
const RUSH: usize = 48;

/// See [`RUSH`].
const WINDOW: Duration = Duration::from_millis(10);

/// How long each claim waits in a rush, those of direct calls too. After that it goes, rush or not: work never stands
/// still.
const PATIENCE: Duration = Duration::from_millis(10);

/// When the latest submits came, the oldest first; no more of them than make a rush.
#[derive(Default)]
pub(super) struct Rush(Mutex<VecDeque<Instant>>);

impl Rush {
    /// A submit came and was accepted.
    pub(super) fn came(&self) {
        self.came_at(Instant::now());
    }

    /// Waits for a moment if there is a rush.
    pub(super) async fn pass(&self) {
        if self.is_on_at(Instant::now()) {
            tokio::time::sleep(PATIENCE).await;
        }
    }

    fn came_at(&self, now: Instant) {
        let mut latest = self.latest();
        if latest.len() == RUSH {
            latest.pop_front();
        }
        latest.push_back(now);
    }

    fn is_on_at(&self, now: Instant) -> bool {
        let latest = self.latest();
        latest.len() == RUSH && latest.front().is_some_and(|first| now.saturating_duration_since(*first) < WINDOW)
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is a rush this long after so many submits that came `apart` from each other.
    fn is_rush(submits: u32, apart: Duration, after: Duration) -> bool {
        let (rush, start) = (Rush::default(), Instant::now());
        for submit in 0..submits {
            rush.came_at(start + apart * submit);
        }
        rush.is_on_at(start + apart * submits + after)
    }

    #[test]
    fn many_submits_close_together_are_a_rush_until_a_moment_after() {
        let (many, near) = (RUSH as u32, WINDOW / (2 * RUSH as u32));
        assert!(is_rush(many, near, Duration::ZERO) && is_rush(10 * many, near, WINDOW / 4));
        assert!(!is_rush(10 * many, near, WINDOW));
    }

    #[test]
    fn few_submits_or_slow_ones_are_none() {
        let (many, near) = (RUSH as u32, WINDOW / (2 * RUSH as u32));
        assert!(!is_rush(0, near, Duration::ZERO) && !is_rush(many - 1, near, Duration::ZERO));
        assert!(!is_rush(10 * many, WINDOW / 4, Duration::ZERO));
    }
}
