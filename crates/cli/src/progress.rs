//! What `scumble run` says while it works, on stderr: in a terminal a bar with stage, step and time left, elsewhere a line
//! for each stage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use scumble_engine::{Pixels, Stage};
use scumble_worker::runner::Watch;

use crate::out;
use crate::text;

/// Shows a run and stops it when somebody asks for that.
pub(crate) struct Progress {
    shown: Shown,
    interrupted: Arc<AtomicBool>,
}

enum Shown {
    Bar(ProgressBar),
    /// With the stage that was said last.
    Lines(Mutex<Option<&'static str>>),
}

const WAITING: &str = "{msg:20} {spinner} {elapsed}";
/// Only where it is known how many steps there are: a bar of nothing looks full.
const STEPPING: &str = "{msg:20} {bar:30} step {pos}/{len}, {eta} left";

impl Progress {
    pub(crate) fn new(interrupted: Arc<AtomicBool>) -> Self {
        let shown = if out::is_terminal() {
            let bar = ProgressBar::new_spinner();
            style(&bar, WAITING);
            bar.set_message(words(Stage::Load));
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            Shown::Bar(bar)
        } else {
            Shown::Lines(Mutex::default())
        };
        Self { shown, interrupted }
    }

    /// Leaves the terminal clean.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Load => "Loading the model",
        Stage::TextEncode => "Reading the prompt",
        Stage::Denoise => "Drawing",
        Stage::Decode => "Decoding",
    }
}

impl Watch for Progress {
    fn stage(&self, stage: Stage) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(words(stage));
                style(bar, WAITING);
                bar.reset_eta();
            }
            Shown::Lines(said) => {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.replace(words(stage)) != Some(words(stage)) {
                    out::say(words(stage));
                }
            }
        }
    }

    fn step(&self, done: usize, total: usize, _preview: &dyn Fn() -> Option<Pixels>) {
        let Shown::Bar(bar) = &self.shown else { return };
        if done <= 1 {
            style(bar, STEPPING);
        }
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    }

    fn log(&self, message: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.println(text::lines(message)),
            Shown::Lines(_) => out::say(message),
        }
    }

    fn warn(&self, message: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| out::warn(message)),
            Shown::Lines(_) => out::warn(message),
        }
    }

    fn cancelled(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }
}
