//! `scumble run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use scumble_api::{Endpoint, EndpointId, ErrorAnswer, ImageFormat, Input, MadePicture, Output, Scope};
use scumble_engine::device;
use scumble_engine::weights::Precision;
use scumble_engine::{DType, Trace};
use scumble_worker::runner::{Drawn, Local, Model, Request};
use scumble_worker::{advice, fresh_seed, source};
use serde_json::{Map, Value};

use crate::args::{Dtype, Run};
use crate::failure::Failure;
use crate::progress::Progress;

/// Reads the input, draws, writes the pictures, says where they are.
pub(crate) fn run(args: &Run) -> Result<(), Failure> {
    let (endpoint, input) = read_input(args)?;
    for name in input.ignored() {
        eprintln!("warning: {} has no field {name}; it is ignored", endpoint.id);
    }
    let seed = match input.request().seed {
        Some(seed) => seed,
        None => fresh_seed().map_err(Failure::Failed)?,
    };
    let mut request = Request::new(&input, Vec::new(), seed, 1);
    request.input.format = wanted_format(args)?.unwrap_or(request.input.format);
    let asked = &request.input;
    let paths = output_paths(args.output.as_deref(), &asked.prompt, seed, asked.images, asked.format);
    check_writable(&paths)?;
    let trace = args.trace.is_some().then(Trace::new);
    let drawn = draw(args, &request, trace.as_ref())?;
    write_pictures(&drawn, &paths)?;
    if let (Some(trace), Some(path)) = (trace, &args.trace) {
        trace.save(path).map_err(|e| Failure::about("write", path, e))?;
    }
    report(args, &request, &drawn, &paths);
    Ok(())
}

/// `--input`, then `-i`, then the prompt and the seed, each over the one before.
fn read_input(args: &Run) -> Result<(&'static Endpoint, Input), Failure> {
    let (id, prompt) = endpoint_and_prompt(&args.words)?;
    let endpoint = scumble_api::find(&id).ok_or_else(|| unknown_endpoint(&id))?;
    let mut fields = match &args.input {
        Some(path) => read_fields(path)?,
        None => Map::new(),
    };
    fields.extend(args.fields.iter().cloned());
    if let Some(prompt) = prompt {
        fields.insert("prompt".into(), prompt.into());
    }
    if let Some(seed) = args.seed {
        fields.insert("seed".into(), seed.into());
    }
    let invalid = |problems: Vec<_>| Failure::Usage(ErrorAnswer::invalid(&problems).message());
    let input = endpoint.parse(&Value::Object(fields), Scope::Local).map_err(invalid)?;
    Ok((endpoint, input))
}

/// A first word that is an id names the endpoint; what remains is the prompt.
fn endpoint_and_prompt(words: &[String]) -> Result<(String, Option<String>), Failure> {
    let starter = || "scumble/starter".to_owned();
    match words {
        [] => Ok((starter(), None)),
        [one] if EndpointId::parse(one).is_some() && one.contains('/') => Ok((one.clone(), None)),
        [one] => Ok((starter(), Some(one.clone()))),
        [endpoint, prompt, ..] if EndpointId::parse(endpoint).is_some() => Ok((endpoint.clone(), Some(prompt.clone()))),
        [endpoint, ..] => Err(Failure::Usage(format!(
            "'{endpoint}' is no endpoint id; a prompt of several words needs quotes: scumble run \"two red stars\""
        ))),
    }
}

/// What to say about an id that the table does not have.
pub(super) fn unknown_endpoint(id: &str) -> Failure {
    Failure::Usage(format!("there is no endpoint {id}; `scumble models list` shows those that there are"))
}

fn read_fields(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::about("read", path, e))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Failure::Usage(format!("{} holds JSON, but not an object", path.display()))),
        Err(e) => Err(Failure::Usage(format!("{} is no JSON: {e}", path.display()))),
    }
}

/// The format that the output file's name asks for.
fn wanted_format(args: &Run) -> Result<Option<ImageFormat>, Failure> {
    let Some(path) = &args.output else { return Ok(None) };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ImageFormat::of_extension(extension) {
        Some(format) if format != ImageFormat::Svg => Ok(Some(format)),
        _ => Err(Failure::Usage(format!("{} should end in .png, .jpg, .jpeg or .webp", path.display()))),
    }
}

/// One path per picture; several share a stem.
fn output_paths(wanted: Option<&Path>, prompt: &str, seed: u64, images: u32, format: ImageFormat) -> Vec<PathBuf> {
    let named = || PathBuf::from(format!("{}-{seed}.{}", slug(prompt), format.extension()));
    let path = wanted.map_or_else(named, Path::to_owned);
    if images == 1 {
        return vec![path];
    }
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("image").to_owned();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or(format.extension()).to_owned();
    (1..=images).map(|i| path.with_file_name(format!("{stem}-{i}.{extension}"))).collect()
}

/// A prompt as the beginning of a file's name.
fn slug(prompt: &str) -> String {
    let words = prompt.to_lowercase();
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let mut slug = String::new();
    for word in words {
        if slug.len() + word.len() > 60 {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    if slug.is_empty() { "image".into() } else { slug }
}

/// A folder that is missing should be found out before minutes of work, not after.
fn check_writable(paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::about("write", path, format!("there is no folder {}", folder.display())));
        }
    }
    Ok(())
}

fn draw(args: &Run, request: &Request, trace: Option<&Trace>) -> Result<Drawn, Failure> {
    let source =
        source(request.endpoint, args.weights.as_deref()).ok_or_else(|| Failure::Weights(advice(request.endpoint)))?;
    let dtype = args.dtype.map(|d| match d {
        Dtype::Float32 => DType::F32,
        Dtype::Bfloat16 => DType::BF16,
        Dtype::Float16 => DType::F16,
    });
    let device = device(&args.device).map_err(|e| Failure::Usage(e.to_string()))?;
    let local = Local::new(Model { source, precision: Precision { device, dtype } });
    let interrupted = Arc::new(AtomicBool::new(false));
    let _listener = on_interrupt(interrupted.clone())?;
    let progress = Progress::new(interrupted);
    let drawn = local.draw(request, &progress, trace);
    progress.finish();
    Ok(drawn?)
}

/// Ctrl-C asks the run to stop; the engine does so within a step.
fn on_interrupt(interrupted: Arc<AtomicBool>) -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::System(format!("cannot start a thread: {e}")))?;
    runtime.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.store(true, Ordering::Release);
        }
    });
    Ok(runtime)
}

fn write_pictures(drawn: &Drawn, paths: &[PathBuf]) -> Result<(), Failure> {
    for (picture, path) in drawn.pictures.iter().zip(paths) {
        std::fs::write(path, &picture.bytes).map_err(|e| Failure::about("write", path, e))?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn report(args: &Run, request: &Request, drawn: &Drawn, paths: &[PathBuf]) {
    if !args.json {
        for path in paths {
            println!("{}", path.display());
        }
        return;
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
    };
    let output = output.shaped(request.endpoint.output);
    println!("{}", serde_json::to_string_pretty(&output).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_slash_is_an_endpoint_and_the_rest_a_prompt() {
        let check = |words: &[&str], endpoint: &str, prompt: Option<&str>| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let (id, text) = endpoint_and_prompt(&words).expect("readable");
            assert_eq!((id.as_str(), text.as_deref()), (endpoint, prompt));
        };
        check(&[], "scumble/starter", None);
        check(&["a red star"], "scumble/starter", Some("a red star"));
        check(&[""], "scumble/starter", Some(""));
        check(&["star"], "scumble/starter", Some("star"));
        check(&["fal-ai/flux/dev"], "fal-ai/flux/dev", None);
        check(&["fal-ai/flux/dev", "a cat"], "fal-ai/flux/dev", Some("a cat"));
        assert!(endpoint_and_prompt(&["two".into(), "stars".into()]).is_err());
    }

    #[test]
    fn names_are_made_from_prompt_and_seed() {
        let paths = |wanted: Option<&str>, images| {
            output_paths(wanted.map(Path::new), "Two RED stars, please!", 7, images, ImageFormat::Png)
        };
        assert_eq!(paths(None, 1), [PathBuf::from("two-red-stars-please-7.png")]);
        assert_eq!(paths(Some("out/a.jpeg"), 2), [PathBuf::from("out/a-1.jpeg"), PathBuf::from("out/a-2.jpeg")]);
        assert_eq!(slug("☃"), "image");
    }
}
