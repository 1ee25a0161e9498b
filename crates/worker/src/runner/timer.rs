//! How long each stage takes. The engine has no clock; this watches it with ours.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use scumble_engine::Stage;

/// Adds up seconds by stage.
pub struct Timer {
    state: Mutex<State>,
}

struct State {
    current: Option<(Stage, Instant)>,
    seconds: BTreeMap<Stage, f64>,
}

impl Default for Timer {
    fn default() -> Self {
        Self { state: Mutex::new(State { current: None, seconds: BTreeMap::new() }) }
    }
}

impl Timer {
    /// A stage begins; the one before it has ended.
    pub fn begin(&self, stage: Stage) {
        self.switch(Some(stage));
    }

    /// Seconds by stage name, every stage present; the last one ends now.
    pub fn finish(&self) -> BTreeMap<String, f64> {
        self.switch(None);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |stage: Stage| state.seconds.get(&stage).copied().unwrap_or(0.0);
        // microseconds are as fine as anybody reads them
        let round = |s: f64| (s * 1e6).round() / 1e6;
        Stage::ALL.iter().map(|stage| (stage.name().to_owned(), round(seconds(*stage)))).collect()
    }

    fn switch(&self, next: Option<Stage>) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stage, since)) = state.current.take() {
            *state.seconds.entry(stage).or_default() += (now - since).as_secs_f64();
        }
        state.current = next.map(|stage| (stage, now));
    }
}
