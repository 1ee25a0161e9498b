//! `scumble bench engine`: how fast a model draws here, and what it takes.

mod memory;
mod peak;
mod report;
mod watched;

use std::path::Path;
use std::time::Instant;

use scumble_api::{Endpoint, Input};
use scumble_engine::weights::Precision;
use scumble_engine::{DType, device};
use scumble_worker::runner::{Drawn, Local, Model, Request, Watch, precision};
use serde_json::Map;

use crate::args::{BenchEngine, Dtype};
use crate::commands::run::{bring, check_writable, checked, followed, format_of};
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::progress::Progress;
use crate::settings::{Sources, own_source, runtime};
use crate::signals::on_interrupt;
use memory::Memory;
use report::{Report, Run};
use watched::Watched;

/// Words that the starter knows and every other model can draw.
const PROMPT: &str = "two small yellow stars on a purple background";
const SEED: u64 = 1;

/// Draws, again and again, and prints what that took.
pub(super) fn engine(args: &BenchEngine) -> Result<(), Failure> {
    let endpoint = scumble_api::find(&args.id).ok_or_else(|| meant::unknown_endpoint(&args.id))?;
    let input = input(args, endpoint)?;
    let source = own_source(&args.own, endpoint)?;
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|e| Failure::System(format!("cannot start {threads} threads: {e}")))?;
    }
    let device = device(&args.device).map_err(|e| Failure::Usage(e.to_string()))?;
    let asked = Precision { device, dtype: args.dtype.map(Dtype::meant) };
    let model = Model { source, precision: asked };
    let chosen = precision(&model, None)?;
    let runtime = runtime()?;
    let progress = Progress::new(on_interrupt(&runtime)?);
    let mut request = followed(&input, input.request().seed.unwrap_or(SEED), &progress)?;
    runtime.block_on(bring(Sources::read(None, None)?, &input, &mut request, &progress))?;
    if let Some(path) = &args.output {
        request.input.format = format_of(path).ok_or_else(|| unwritable(path))?;
        check_writable(std::slice::from_ref(path))?;
    }
    let before = Memory::now();
    let (mut runs, mut last) = (Vec::new(), None);
    for _ in 0..args.runs {
        let (run, drawn) = run(&model, &request, &progress)?;
        runs.push(run);
        last = Some(drawn);
    }
    // after what is read of memory, since it takes some
    let peak = peak::measure(&chosen.device, chosen.dtype.unwrap_or(DType::F32))?;
    progress.finish();
    if let (Some(path), Some(drawn)) = (&args.output, last) {
        let bytes = drawn.pictures.first().map_or(&[][..], |picture| &picture.bytes);
        std::fs::write(path, bytes).map_err(|e| Failure::about("write", path, e))?;
    }
    let report = Report::new(&request, &chosen, before, &runs, peak);
    if args.json { out::pretty(&report.json()) } else { out::result(&report.table()) }
}

/// What is drawn: always the same, but for what was typed.
fn input(args: &BenchEngine, endpoint: &'static Endpoint) -> Result<Input, Failure> {
    let mut fields = Map::new();
    fields.insert("prompt".into(), PROMPT.into());
    fields.insert("seed".into(), SEED.into());
    fields.extend(args.fields.iter().cloned());
    if let Some([width, height]) = args.size {
        fields.insert("image_size".into(), serde_json::json!({ "width": width, "height": height }));
    }
    if let Some(steps) = args.steps {
        fields.insert("num_inference_steps".into(), steps.into());
    }
    checked(endpoint, fields)
}

/// Loads the model, draws, and lets it go.
fn run(model: &Model, request: &Request, progress: &Progress) -> Result<(Run, Drawn), Failure> {
    let local = Local::new(model.clone());
    let watched = Watched::new(progress);
    let began = Instant::now();
    let drawn = local.draw(request, &watched, None)?;
    let seconds = began.elapsed().as_secs_f64();
    // Ctrl-C after the last step
    if progress.cancelled() {
        return Err(Failure::Interrupted);
    }
    Ok((watched.finish(&drawn, seconds), drawn))
}

fn unwritable(path: &Path) -> Failure {
    Failure::Usage(format!("{} should end in .png, .jpg, .jpeg or .webp", path.display()))
}
