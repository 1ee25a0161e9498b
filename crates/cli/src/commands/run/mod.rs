//! `scumble run`.

mod input;
mod problems;
mod target;

use std::path::PathBuf;
use std::sync::Arc;

use scumble_api::{Input, MadePicture, Output, SAFETY_CHECKER};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Trace, device, runs_plain};
use scumble_worker::runner::{
    Drawn, Local, Model, Needs, Request, RunError, SafetyConfig, Watch, other_size, refusals, unchecked,
};
use scumble_worker::{Budget, Inputs, fresh_seed};

use crate::args::{Dtype, Run};
use crate::failure::Failure;
use crate::out;
use crate::progress::Progress;
use crate::settings::{Sources, own_source, useless};
use crate::show::Screen;
use crate::signals::on_interrupt;
pub(super) use input::checked;
use target::{Target, wanted_format};
pub(super) use target::{check_writable, format_of};

/// Reads the input, draws, writes the pictures, says where they are.
pub(crate) fn run(args: &Run) -> Result<(), Failure> {
    let (_, input) = input::read(args)?;
    let source = own_source(&args.own, input.endpoint())?;
    let runtime = runtime()?;
    let interrupted = on_interrupt(&runtime)?;
    let progress = Progress::new(interrupted);
    let seed = match input.request().seed {
        Some(seed) => seed,
        None => fresh_seed().map_err(Failure::Failed)?,
    };
    let mut request = followed(&input, seed, &progress)?;
    request.input.format = wanted_format(args)?.unwrap_or(request.input.format);
    let asked = &request.input;
    let target = Target::choose(args, &asked.prompt, seed, asked.images, asked.format)?;
    let screen = args.show.map(Screen::find).transpose()?;
    let trace = args.trace.is_some().then(Trace::new);
    let safety = runtime.block_on(prepare(args, &input, &mut request, &progress))?;
    let drawn = draw(args, source, &request, safety, &progress, trace.as_ref())?;
    other_size(&request, &drawn).iter().for_each(|said| out::say(said));
    unchecked(&request, &drawn).iter().for_each(|said| out::say(said));
    target.put(&drawn.pictures)?;
    if let (Some(trace), Some(path)) = (trace, &args.trace) {
        trace.save(path).map_err(|e| Failure::about("write", path, e))?;
    }
    if let Some(screen) = screen {
        drawn.pictures.iter().try_for_each(|picture| screen.show(&picture.bytes))?;
    }
    match target {
        Target::Files(paths) => report(args, &request, &drawn, &paths),
        Target::Stdout => Ok(()),
    }
}

/// The request, if the engine can follow it.
pub(super) fn followed(input: &Input, seed: u64, progress: &Progress) -> Result<Request, Failure> {
    let refused = refusals(input);
    if !refused.is_empty() {
        return Err(RunError::Invalid(refused).into());
    }
    input.notes().iter().for_each(|note| progress.log(note));
    Ok(Request::new(input, Vec::new(), seed, 1))
}

/// Brings what the input names. Gives what is to look at the result.
async fn prepare(
    args: &Run,
    input: &Input,
    request: &mut Request,
    progress: &Progress,
) -> Result<Option<Arc<SafetyConfig>>, Failure> {
    let mut sources = Sources::read(args.config.as_deref(), args.data_dir.as_deref())?;
    let safety = sources.safety.take();
    let is_asked = request.values.get(SAFETY_CHECKER).is_some_and(|asked| asked == true);
    // before anything is drawn that could not be looked at
    if let Some(failure) = safety.as_deref().filter(|_| is_asked).and_then(useless) {
        return Err(failure);
    }
    bring(sources, input, request, progress).await?;
    Ok(safety)
}

/// Reads the pictures and adapters that the input names (paths, URLs, data URIs, repositories), and has the prompt made
/// longer.
pub(super) async fn bring(
    sources: Sources,
    input: &Input,
    request: &mut Request,
    progress: &Progress,
) -> Result<(), Failure> {
    let Sources { fetch, adapters, prompts, safety: _ } = sources;
    let inputs = Inputs::local(fetch, Budget::new(MEMORY), adapters);
    request.pictures = inputs.given(input, Needs::Every, progress).await?;
    request.adapters = inputs.adapters(input, progress).await?;
    if let Some(prompt) = prompts.longer(input, progress).await? {
        request.input.prompt = prompt;
    }
    Ok(())
}

/// What pictures of one input may take while they are read.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;

fn draw(
    args: &Run,
    source: Source,
    request: &Request,
    safety: Option<Arc<SafetyConfig>>,
    progress: &Progress,
    trace: Option<&Trace>,
) -> Result<Drawn, Failure> {
    let dtype = args.dtype.map(Dtype::meant);
    let device = device(&args.device).map_err(|e| Failure::Usage(e.to_string()))?;
    if let Some(why) = runs_plain(&device) {
        let name = &args.device;
        progress.log(&format!("our kernels are wrong on {name} and are not used; please report this: {why}"));
    }
    let local = Local::new(Model { source, precision: Precision { device, dtype } }).checked_by(safety);
    let drawn = local.draw(request, progress, trace);
    progress.finish();
    Ok(drawn?)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|e| Failure::System(format!("cannot start a thread: {e}")))
}

fn report(args: &Run, request: &Request, drawn: &Drawn, paths: &[PathBuf]) -> Result<(), Failure> {
    if !args.json {
        let lines: String = paths.iter().map(|path| format!("{}\n", path.display())).collect();
        return out::result(&lines);
    }
    let image = |(picture, path): (&scumble_worker::Picture, &PathBuf)| MadePicture {
        url: format!("file://{}", std::path::absolute(path).unwrap_or_else(|_| path.clone()).display()),
        width: picture.width,
        height: picture.height,
        content_type: picture.format.content_type().into(),
        file_name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        file_size: picture.bytes.len() as u64,
    };
    let output = Output {
        images: drawn.pictures.iter().zip(paths).map(image).collect(),
        timings: drawn.timings.clone(),
        seed: request.seed,
        prompt: request.input.prompt.clone(),
        flags: drawn.flags.clone(),
    };
    out::pretty(&output.shaped(request.endpoint.output))
}
