//! What several runs found, as a table for people and as JSON for programs.

use std::fmt::Write;

use scumble_engine::weights::Precision;
use scumble_engine::{DType, Stage};
use scumble_worker::runner::Request;
use serde::Serialize;
use serde_json::{Value, json};

use super::memory::Memory;
use super::peak::Peak;

/// What one run took.
pub(super) struct Run {
    /// Seconds of each stage, in their order.
    pub(super) stages: [f64; 4],
    /// Multiplications with an addition in each stage.
    pub(super) work: [u64; 4],
    /// Seconds of each step.
    pub(super) steps: Vec<f64>,
    /// Seconds of everything but loading.
    pub(super) picture: f64,
    /// Width and height of what was drawn.
    pub(super) size: [u32; 2],
    /// With all weights there, and nothing computed.
    pub(super) loaded: Option<Memory>,
    /// With the picture done, and the model still there.
    pub(super) after: Option<Memory>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    stage: &'static str,
    median: f64,
    least: f64,
    most: f64,
    /// All of them, in seconds.
    seconds: Vec<f64>,
    /// Billions of multiplications and additions, each counted; of the median run.
    #[serde(skip_serializing_if = "Option::is_none")]
    gflop: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gflops: Option<f64>,
    /// Of what the machine's own product reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

/// Everything that was measured.
pub(super) struct Report {
    head: Value,
    rows: Vec<Row>,
    before: Option<Memory>,
    loaded: Option<Memory>,
    after: Option<Memory>,
    peak: Peak,
}

impl Report {
    pub(super) fn new(
        request: &Request,
        precision: &Precision,
        before: Option<Memory>,
        runs: &[Run],
        peak: Peak,
    ) -> Self {
        let taken = runs.first().map_or(0, |run| run.steps.len());
        let [width, height] = runs.first().map_or([0, 0], |run| run.size);
        let head = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "endpoint": request.endpoint.id,
            "dtype": precision.dtype.map(name),
            "device": if precision.device.is_cpu() { "cpu" } else { "gpu" },
            "threads": rayon::current_num_threads(),
            "width": width,
            "height": height,
            "steps": taken,
            "images": request.input.images,
            "runs": runs.len(),
        });
        Self {
            head,
            rows: rows(runs, taken, peak.gflops),
            before,
            // later runs hold what earlier ones have left to the allocator
            loaded: runs.first().and_then(|run| run.loaded),
            after: runs.last().and_then(|run| run.after),
            peak,
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut all = self.head.clone();
        all["stages"] = json!(self.rows);
        all["memory"] = json!({
            "before": self.before,
            "loaded": self.loaded,
            "after": self.after,
            "peak": self.after.map(|memory| memory.peak),
        });
        all["peak"] = json!({ "gflops": self.peak.gflops, "dtype": name(self.peak.dtype) });
        all
    }

    pub(super) fn table(&self) -> String {
        let text = |name: &str| self.head[name].as_str().unwrap_or("the type of the weights").to_owned();
        let number = |name: &str| self.head[name].as_u64().unwrap_or_default();
        let counted = |name: &str, one: &str| match number(name) {
            1 => format!("1 {one}"),
            many => format!("{many} {one}s"),
        };
        let mut table = format!(
            "{}: {}x{}, {}, {}, {}, {}\n\n",
            text("endpoint"),
            number("width"),
            number("height"),
            counted("steps", "step"),
            text("dtype"),
            counted("threads", "thread"),
            counted("runs", "run"),
        );
        let _ = writeln!(
            table,
            "{:<12} {:>10} {:>10} {:>10} {:>10} {:>9} {:>7}",
            "seconds", "median", "least", "most", "GFLOP", "GFLOP/s", "of peak"
        );
        self.rows.iter().for_each(|row| row.line(&mut table));
        table.push('\n');
        self.memory(&mut table);
        let _ = writeln!(
            table,
            "peak: a product of 1024x3072 and 3072x3072 in {} reaches {:.1} GFLOP/s here",
            name(self.peak.dtype),
            self.peak.gflops
        );
        table
    }

    fn memory(&self, table: &mut String) {
        let (Some(before), Some(loaded), Some(after)) = (self.before, self.loaded, self.after) else {
            table.push_str("memory: this system does not say\n");
            return;
        };
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let _ = writeln!(
            table,
            "memory: {} at the start, {} with the model loaded ({} of it files), {} after the picture, {} at most",
            mb(before.resident),
            mb(loaded.resident),
            mb(loaded.files),
            mb(after.resident),
            mb(after.peak),
        );
    }
}

/// Stages, the steps among them, and the whole.
fn rows(runs: &[Run], taken: usize, peak: f64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, stage) in Stage::ALL.into_iter().enumerate() {
        let work = runs.first().map_or(0, |run| run.work[at]);
        let seconds = runs.iter().map(|run| run.stages[at]).collect();
        rows.push(Row::new(stage.name(), seconds, work, peak));
        if stage == Stage::Denoise {
            let seconds = runs.iter().flat_map(|run| run.steps.iter().copied()).collect();
            rows.push(Row::new("step", seconds, work / taken.max(1) as u64, peak));
        }
    }
    rows.push(Row::new("picture", runs.iter().map(|run| run.picture).collect(), 0, peak));
    rows
}

impl Row {
    fn new(stage: &'static str, seconds: Vec<f64>, multiply_adds: u64, peak: f64) -> Self {
        let mut sorted = seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        // the mean of the two in the middle, where there are two
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        let gflop = (multiply_adds > 0 && median > 0.0).then_some(2.0 * multiply_adds as f64 / 1e9);
        let gflops = gflop.map(|gflop| gflop / median);
        let share = gflops.map(|gflops| gflops / peak);
        Self { stage, median, least: at(0), most: at(last), seconds, gflop, gflops, share }
    }

    fn line(&self, table: &mut String) {
        let Self { stage, median, least, most, .. } = self;
        let _ = write!(table, "{stage:<12} {median:>10.3} {least:>10.3} {most:>10.3}");
        if let (Some(gflop), Some(gflops), Some(share)) = (self.gflop, self.gflops, self.share) {
            let _ = write!(table, " {gflop:>10.1} {gflops:>9.1} {:>5.0} %", share * 100.0);
        }
        table.push('\n');
    }
}

/// As it is typed.
fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_the_middle_the_ends_and_the_share() {
        let row = Row::new("step", vec![3.0, 1.0, 2.0, 10.0], 1_000_000_000, 2.0);
        assert_eq!((row.median, row.least, row.most), (2.5, 1.0, 10.0));
        assert_eq!((row.gflop, row.gflops, row.share), (Some(2.0), Some(0.8), Some(0.4)));
        let row = Row::new("load", vec![0.5], 0, 2.0);
        assert_eq!((row.median, row.gflop, row.share), (0.5, None, None));
    }
}
