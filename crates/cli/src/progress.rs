//! The progress bar of `scumble run`: stage, step, time left, on stderr.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use scumble_engine::{Pixels, Stage};
use scumble_worker::runner::Watch;

/// Shows a run and stops it on Ctrl-C.
pub(crate) struct Progress {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    pub(crate) fn new(interrupted: Arc<AtomicBool>) -> Self {
        let bar = ProgressBar::new(0);
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Self { bar, interrupted }
    }

    /// Leaves the terminal clean.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

impl Watch for Progress {
    fn stage(&self, stage: Stage) {
        let words = match stage {
            Stage::Load => "Loading the model",
            Stage::TextEncode => "Reading the prompt",
            Stage::Denoise => "Drawing",
            Stage::Decode => "Decoding",
        };
        self.bar.set_message(words);
        if stage == Stage::Denoise {
            self.style("{msg:20} {bar:30} step {pos}/{len}, {eta} left");
            self.bar.reset_eta();
        } else {
            self.style("{msg:20} {spinner} {elapsed}");
        }
    }

    fn step(&self, done: usize, total: usize, _preview: &dyn Fn() -> Option<Pixels>) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    fn log(&self, message: &str) {
        self.bar.println(message);
    }

    fn warn(&self, message: &str) {
        // the bar shows nothing where stderr is no terminal
        self.bar.suspend(|| eprintln!("warning: {message}"));
    }

    fn cancelled(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }
}
