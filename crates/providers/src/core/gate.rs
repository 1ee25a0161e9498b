//! How much a maker takes at once: calls in flight, requests a second, pictures a minute. One gate for all jobs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::retry::Pace;

/// What a maker allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) in_flight: usize,
    pub(crate) requests_per_second: Option<u32>,
    pub(crate) pictures_per_minute: Option<u32>,
}

/// How long a maker that complained is spared.
const SPARED: Duration = Duration::from_secs(30);

/// Lets calls pass as a maker allows, first come, first served.
pub(crate) struct Gate {
    rules: Rules,
    pace: Pace,
    state: Mutex<State>,
    freed: Notify,
    /// Whoever holds it is next; the others wait in order.
    slots: tokio::sync::Mutex<()>,
    starts: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    active: usize,
    /// Fewer than the rules allow, until then.
    spared: Option<(usize, Instant)>,
    requests: VecDeque<Instant>,
    pictures: VecDeque<Instant>,
}

/// The right to have a call in flight.
pub(crate) struct Slot(Arc<Gate>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state().active -= 1;
        self.0.freed.notify_one();
    }
}

impl Gate {
    pub(crate) fn new(rules: Rules, pace: Pace) -> Arc<Self> {
        let (slots, starts) = Default::default();
        Arc::new(Self { rules, pace, state: Mutex::default(), freed: Notify::new(), slots, starts })
    }

    /// Waits until one more call may be in flight.
    pub(crate) async fn slot(self: &Arc<Self>) -> Slot {
        let _next = self.slots.lock().await;
        loop {
            let freed = self.freed.notified();
            let until = {
                let mut state = self.state();
                let (limit, until) = self.limit(&mut state);
                if state.active < limit {
                    state.active += 1;
                    return Slot(self.clone());
                }
                until
            };
            match until {
                None => freed.await,
                Some(until) => tokio::select! { () = freed => {}, () = sleep_until(until) => {} },
            }
        }
    }

    /// Waits until one more request, for so many pictures, may be sent.
    pub(crate) async fn start(&self, pictures: u32) {
        let _next = self.starts.lock().await;
        loop {
            let now = Instant::now();
            let until = {
                let mut state = self.state();
                let (second, minute) = (self.pace.of(SECOND), self.pace.of(MINUTE));
                let requests = wait(&mut state.requests, self.rules.requests_per_second, second, 1, now);
                let drawn = wait(&mut state.pictures, self.rules.pictures_per_minute, minute, pictures, now);
                match requests.max(drawn) {
                    None => {
                        state.requests.push_back(now);
                        state.pictures.extend(std::iter::repeat_n(now, pictures as usize));
                        return;
                    }
                    Some(until) => until,
                }
            };
            sleep_until(until).await;
        }
    }

    /// The maker complained: half as much for a while.
    pub(crate) fn spare(&self) {
        let mut state = self.state();
        let (limit, _) = self.limit(&mut state);
        state.spared = Some(((limit / 2).max(1), Instant::now() + self.pace.of(SPARED)));
    }

    /// What is allowed now, and until when that is less than usual.
    fn limit(&self, state: &mut State) -> (usize, Option<Instant>) {
        match state.spared {
            Some((limit, until)) if Instant::now() < until => (limit, Some(until)),
            _ => {
                state.spared = None;
                (self.rules.in_flight.max(1), None)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Until when to wait so that `more` fit into the window; `None` if they do now. More than the whole allowance fits into
/// an empty window.
fn wait(past: &mut VecDeque<Instant>, most: Option<u32>, window: Duration, more: u32, now: Instant) -> Option<Instant> {
    while past.front().is_some_and(|at| *at + window <= now) {
        past.pop_front();
    }
    let (most, more) = (most? as usize, more as usize);
    let over = (past.len() + more).checked_sub(most.max(more)).filter(|over| *over > 0)?;
    past.get(over - 1).map(|at| *at + window)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred times as fast.
    const PACE: Pace = Pace(0.01);

    fn gate(in_flight: usize) -> Arc<Gate> {
        Gate::new(Rules { in_flight, requests_per_second: Some(5), pictures_per_minute: Some(100) }, PACE)
    }

    #[tokio::test]
    async fn a_maker_that_complains_gets_half_for_half_a_minute() {
        let gate = gate(4);
        let began = Instant::now();
        let mut slots = vec![gate.slot().await, gate.slot().await];
        gate.spare();
        slots.push(gate.slot().await);
        assert!(began.elapsed() >= PACE.of(SPARED), "the third waits until the maker is not spared any more");
        slots.push(gate.slot().await);
        let mut waiting = tokio::spawn({
            let gate = gate.clone();
            async move { drop(gate.slot().await) }
        });
        assert!(tokio::time::timeout(PACE.of(SECOND), &mut waiting).await.is_err(), "a fifth");
        slots.pop();
        waiting.await.expect("a slot was freed");
    }

    #[tokio::test]
    async fn requests_are_spaced() {
        let gate = gate(100);
        let began = Instant::now();
        for _ in 0..5 {
            gate.start(1).await;
        }
        gate.start(1).await;
        assert!(began.elapsed() >= PACE.of(SECOND), "the sixth in a second waits for the next");
        gate.start(94).await;
        gate.start(1).await;
        assert!(began.elapsed() >= PACE.of(MINUTE), "the hundred and first picture waits for the next minute");
        gate.start(500).await;
        assert!(began.elapsed() >= PACE.of(2 * MINUTE), "what never fits passes alone");
    }
}
