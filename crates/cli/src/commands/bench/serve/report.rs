//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::commands::bench::serve::load::{Load, Tally};

/// Everything that one run found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// From the start of the process to readiness, where this command started it: the median of several starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ready_ms: Option<f64>,
    /// Memory of the server before its first request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_resident_mb: Option<f64>,
    /// The pause between two looks at a status.
    pub(crate) poll_ms: f64,
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) call: &'static str,
    pub(crate) connections: usize,
    pub(crate) median_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) per_second: f64,
    pub(crate) calls: usize,
    pub(crate) refused: usize,
}

impl Row {
    pub(crate) fn new(call: &'static str, load: &Load, tally: &Tally) -> Self {
        let at = |share| tally.quantile(share).map(milliseconds);
        Self {
            call,
            connections: load.connections,
            median_ms: at(0.5),
            p99_ms: at(0.99),
            per_second: tally.per_second(),
            calls: tally.nanoseconds.len(),
            refused: tally.refused,
        }
    }
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<18} {:>11} {:>12} {:>12} {:>12} {:>8}\n",
            "call", "connections", "median", "p99", "per second", "refused"
        );
        for row in &self.rows {
            let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms"));
            let Row { call, connections, median_ms, p99_ms, per_second, calls: _, refused } = row;
            let (median, p99) = (ms(*median_ms), ms(*p99_ms));
            let _ =
                writeln!(text, "{call:<18} {connections:>11} {median:>12} {p99:>12} {per_second:>12.0} {refused:>8}");
        }
        if let Some(ms) = self.ready_ms {
            let _ = writeln!(text, "\nprocess start to ready: {ms:.1} ms");
        }
        if let Some(mb) = self.idle_resident_mb {
            let _ = writeln!(text, "resident when idle: {mb:.1} MB");
        }
        text
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
