//! One run, watched: how long each step took, what was multiplied in each stage, what memory the weights take.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use scumble_engine::nn::multiply_adds;
use scumble_engine::{Pixels, Stage};
use scumble_worker::runner::{Drawn, Watch};

use super::memory::Memory;
use super::report::Run;
use crate::progress::Progress;

/// Shows how a run goes on, and keeps what only somebody who watches can know.
pub(super) struct Watched<'a> {
    progress: &'a Progress,
    seen: Mutex<Seen>,
}

/// What was seen so far.
struct Seen {
    /// The stage that is on, and the count where it began.
    stage: Option<(Stage, u64)>,
    work: BTreeMap<Stage, u64>,
    /// Where the last step ended or the first one began.
    since: Instant,
    steps: Vec<f64>,
    /// With all weights there, and nothing computed.
    loaded: Option<Memory>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(progress: &'a Progress) -> Self {
        let seen = Seen { stage: None, work: BTreeMap::new(), since: Instant::now(), steps: Vec::new(), loaded: None };
        Self { progress, seen: Mutex::new(seen) }
    }

    /// The run has ended: it has drawn this in so many seconds, and the model is still in memory.
    pub(super) fn finish(self, drawn: &Drawn, seconds: f64) -> Run {
        let after = Memory::now();
        let mut seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        seen.switch(None);
        let stages = Stage::ALL.map(|stage| drawn.timings.get(stage.name()).copied().unwrap_or_default());
        let work = Stage::ALL.map(|stage| seen.work.get(&stage).copied().unwrap_or_default());
        let [load, ..] = stages;
        let size = drawn.pictures.first().map_or([0, 0], |picture| [picture.width, picture.height]);
        Run { stages, work, steps: seen.steps, picture: seconds - load, size, loaded: seen.loaded, after }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn switch(&mut self, next: Option<Stage>) {
        let count = multiply_adds();
        if let Some((stage, since)) = self.stage.take() {
            *self.work.entry(stage).or_default() += count - since;
        }
        self.stage = next.map(|stage| (stage, count));
    }
}

impl Watch for Watched<'_> {
    fn stage(&self, stage: Stage) {
        let mut seen = self.seen();
        seen.switch(Some(stage));
        match stage {
            Stage::Load => {}
            Stage::TextEncode => seen.loaded = seen.loaded.or_else(Memory::now),
            Stage::Denoise | Stage::Decode => seen.since = Instant::now(),
        }
        drop(seen);
        self.progress.stage(stage);
    }

    fn step(&self, done: usize, total: usize, preview: &dyn Fn() -> Option<Pixels>) {
        let mut seen = self.seen();
        let now = Instant::now();
        let took = now.duration_since(seen.since).as_secs_f64();
        seen.steps.push(took);
        seen.since = now;
        drop(seen);
        self.progress.step(done, total, preview);
    }

    fn log(&self, message: &str) {
        self.progress.log(message);
    }

    fn warn(&self, message: &str) {
        self.progress.warn(message);
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }
}
