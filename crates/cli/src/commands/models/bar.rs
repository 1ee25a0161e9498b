//! How far a fetch or a backup is: in a terminal a bar with rate and time left, elsewhere a line now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use scumble_api::published::gigabytes;
use scumble_hub::Watch;

use crate::out;
use crate::text;

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(15);
const COMING: &str = "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left  {msg}";

/// Shows a fetch.
pub(crate) enum Bar {
    Terminal(ProgressBar),
    Lines(Mutex<Lines>),
}

/// What is known where nothing is drawn.
pub(crate) struct Lines {
    wanted: u64,
    here: u64,
    /// What was here at the beginning.
    before: u64,
    began: Instant,
    said: Instant,
}

impl Bar {
    pub(crate) fn new() -> Self {
        if !out::is_terminal() {
            let now = Instant::now();
            return Self::Lines(Mutex::new(Lines { wanted: 0, here: 0, before: 0, began: now, said: now }));
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(COMING) {
            bar.set_style(style);
        }
        Self::Terminal(bar)
    }

    /// Leaves the terminal clean.
    pub(crate) fn finish(&self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Bar {
    fn begin(&self, bytes: u64, here: u64) {
        match self {
            Self::Terminal(bar) => {
                bar.set_length(bytes);
                bar.set_position(here);
                bar.reset_eta();
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            Self::Lines(lines) => {
                let now = Instant::now();
                *lines.lock().unwrap_or_else(PoisonError::into_inner) =
                    Lines { wanted: bytes, here, before: here, began: now, said: now };
            }
        }
    }

    fn come(&self, bytes: u64) {
        match self {
            Self::Terminal(bar) => bar.inc(bytes),
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.here += bytes;
                if lines.said.elapsed() >= PAUSE {
                    out::say(&lines.sentence());
                    lines.said = Instant::now();
                }
            }
        }
    }

    fn lost(&self, bytes: u64) {
        match self {
            Self::Terminal(bar) => bar.set_position(bar.position().saturating_sub(bytes)),
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.here = lines.here.saturating_sub(bytes);
            }
        }
    }

    fn checking(&self, file: &str) {
        if let Self::Terminal(bar) = self {
            bar.set_message(format!("checking {}", text::cell(file, 40)));
        }
    }

    fn say(&self, sentence: &str) {
        match self {
            Self::Terminal(bar) => bar.suspend(|| out::say(sentence)),
            Self::Lines(_) => out::say(sentence),
        }
    }
}

impl Lines {
    /// So much of so much, at which rate, and how long the rest takes at that.
    fn sentence(&self) -> String {
        let rate = self.here.saturating_sub(self.before) as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let left = self.wanted.saturating_sub(self.here) as f64 / rate.max(1.0);
        format!(
            "{} of {}, {}/s, {:.0} min left",
            gigabytes(self.here),
            gigabytes(self.wanted),
            gigabytes(rate as u64),
            (left / 60.0).ceil()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).expect("a time");
        let lines = Lines { wanted: 13_000_000_000, here: 2_000_000_000, before: 1_000_000_000, began, said: began };
        let said = lines.sentence();
        assert!(said.starts_with("2.0 GB of 13.0 GB, ") && said.ends_with("min left"), "{said}");
    }
}
