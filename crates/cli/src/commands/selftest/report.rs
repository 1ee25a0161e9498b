//! One line for each thing that was found to be in order, and a bar while something is found out.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::out;

/// What a step says when it fails.
pub(super) type Checked<T> = Result<T, String>;

pub(super) struct Report {
    bar: ProgressBar,
}

impl Report {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Carries out a step and says how long it took; the first that fails ends the test.
    pub(super) async fn step<T>(&self, what: &str, step: impl Future<Output = Checked<T>>) -> Result<T, Failure> {
        self.bar.set_message(what.to_owned());
        let began = Instant::now();
        match step.await {
            Ok(value) => {
                self.ok(&format!("{what:<44} {:>9.1} ms", began.elapsed().as_secs_f64() * 1000.0))?;
                Ok(value)
            }
            Err(problem) => Err(Failure::Failed(format!("{what}: {problem}"))),
        }
    }

    /// Something is in order.
    pub(super) fn ok(&self, line: &str) -> Result<(), Failure> {
        self.bar.suspend(|| out::result(&format!("ok  {line}")))
    }

    /// Begins something that has a length.
    pub(super) fn begin(&self, what: &str, length: usize) {
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {elapsed}") {
            self.bar.set_style(style);
        }
        self.bar.set_length(length as u64);
        self.at(0);
        self.bar.set_message(what.to_owned());
    }

    /// How far that came.
    pub(super) fn at(&self, position: usize) {
        self.bar.set_position(position as u64);
    }

    /// Leaves the terminal clean.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
