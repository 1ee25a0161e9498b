//! What `serve` says on stderr: lines for people, or an object a line for programs. All of it: what is said before the log
//! begins, panics, and why it ends.

mod json;
mod traces;

use std::ffi::OsStr;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{LogFormat, Serve};
use crate::failure::Failure;
use crate::out;
use crate::settings::said_log_format;
pub(crate) use traces::Traces;

/// The variable that says the format where no flag does.
pub(crate) const VARIABLE: &str = "SCUMBLE_LOG_FORMAT";

/// Whether this process writes objects.
static OBJECTS: AtomicBool = AtomicBool::new(false);

/// Whether this process writes objects.
pub(crate) fn is_json() -> bool {
    OBJECTS.load(Ordering::Relaxed)
}

/// Looks at what was typed before it is understood: why it cannot be is a line as well. Only `serve` writes objects.
pub(crate) fn listen_to(words: impl Iterator<Item = impl AsRef<OsStr>>) {
    let words: Vec<String> = words.map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
    let variable = std::env::var(VARIABLE).ok();
    if words.get(1).map(String::as_str) == Some("serve") {
        OBJECTS.store(typed(&words).or(variable).is_some_and(|word| means_json(&word)), Ordering::Relaxed);
    }
}

fn means_json(word: &str) -> bool {
    LogFormat::from_str(word.trim(), false) == Ok(LogFormat::Json)
}

/// The value of `--log-format` among these words; the last one, which is refused where there are several.
fn typed(words: &[String]) -> Option<String> {
    let behind = |(word, next): (&String, Option<&String>)| match word.strip_prefix("--log-format")? {
        "" => next.cloned(),
        rest => rest.strip_prefix('=').map(str::to_owned),
    };
    words.iter().zip(words.iter().skip(1).map(Some).chain([None])).filter_map(behind).last()
}

/// Begins the log of `serve`, and the export of traces where a collector is named.
///
/// # Errors
/// A variable that cannot be followed. The log has begun all the same.
pub(crate) fn begin(args: &Serve) -> Result<Option<Traces>, Failure> {
    let file = || said_log_format(args.place.config.as_deref());
    let format = args.log_format.or_else(file).unwrap_or_default();
    OBJECTS.store(format == LogFormat::Json, Ordering::Relaxed);
    // who cannot be told that the log cannot be written is not told
    let lines = tracing_subscriber::fmt::layer().with_writer(|| out::Log).log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(out::colours()).with_filter(filter()).boxed(),
        LogFormat::Json => {
            std::panic::set_hook(Box::new(tell_panic));
            lines
                .with_ansi(false)
                .fmt_fields(JsonFields::new())
                .event_format(json::Objects)
                .with_filter(filter())
                .boxed()
        }
    };
    let traces = Traces::begin(args.role);
    let layer = traces.as_ref().ok().and_then(Option::as_ref).map(Traces::layer);
    tracing_subscriber::registry().with(lines).with(layer).init();
    traces
}

/// What is said, by `RUST_LOG`; an empty variable is as good as none. Spans that are for traces alone are in no line.
fn filter<S>() -> impl tracing_subscriber::layer::Filter<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    use tracing_subscriber::filter::FilterExt;
    let level = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|level| !level.trim().is_empty());
    let levels = level.and_then(|level| EnvFilter::try_new(level).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    FilterExt::<S>::and(levels, filter_fn(|about| about.target() != scumble_traces::TARGET))
}

/// A panic as a line; with the ids of what it was about, where the log can still be asked.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload_as_str().unwrap_or("(no text)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => trace.to_string(),
        _ => String::new(),
    };
    if tracing::enabled!(target: "panic", tracing::Level::ERROR) {
        tracing::error!(target: "panic", thread, place, trace, "a thread panicked: {said}");
    } else {
        let fields = [("thread", thread.into()), ("place", place.into()), ("trace", trace.into())];
        json::write("ERROR", "panic", &format!("a thread panicked: {said}"), fields);
    }
}

/// A line of the process itself, outside the log: before it begins, or after all else.
pub(crate) fn line(level: &str, message: &str) {
    json::write(level, "scumble", message, []);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs in a process of its own, which the test below starts: a panic of the whole process is nobody else's.
    #[test]
    fn panics_in_a_process_of_its_own() {
        if std::env::var_os("SCUMBLE_TEST_PANICS").is_some() {
            std::panic::set_hook(Box::new(tell_panic));
            panic!("a test\nof panics \u{202e}");
        }
    }

    #[test]
    fn a_panic_is_a_line() {
        let mut own = std::process::Command::new(std::env::current_exe().expect("this program"));
        own.args(["--exact", "log::tests::panics_in_a_process_of_its_own", "--nocapture"]);
        let ended = own.env("SCUMBLE_TEST_PANICS", "1").output().expect("it runs");
        assert!(!ended.status.success());
        let said = String::from_utf8_lossy(&ended.stderr);
        let lines: Vec<serde_json::Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let [line] = lines.as_slice() else { panic!("{said}") };
        assert_eq!((line["level"].as_str(), line["target"].as_str()), (Some("ERROR"), Some("panic")));
        assert_eq!(line["message"], "a thread panicked: a test\nof panics \u{202e}");
        assert!(line["place"].as_str().is_some_and(|place| place.contains("log/mod.rs")), "{line}");
    }

    #[test]
    fn the_format_is_heard_before_the_rest_is_understood() {
        let of = |words: &str| typed(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("scumble serve --log-format json --wrong"), Some("json".to_owned()));
        assert_eq!(of("scumble serve --log-format=json"), Some("json".to_owned()));
        assert_eq!(of("scumble serve --log-formats json --log-format"), None);
        assert_eq!(of("scumble serve"), None);
        assert!(means_json("json") && means_json(" json ") && !means_json("text") && !means_json("JSON"));
    }
}
