//! What all tests share: a caller's side of a call, pictures, and an ear for keys.

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, RgbImage};
use scumble_providers::{Call, Cost, Made, MakerError, MakerId, Makers, Options, Progress, Settings, Tape};
use serde_json::{Value, json};

/// The key of every maker in these tests. It must be found nowhere but at the makers.
pub(crate) const KEY: &str = "canary-7f3a9c51d2";

/// Hears everything that a call tells.
#[derive(Default)]
pub(crate) struct Ear {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) tickets: Mutex<Vec<String>>,
    /// What the call has cost.
    pub(crate) spent: Mutex<Cost>,
    pub(crate) cancelled: AtomicBool,
    /// Cancels as soon as a ticket holds this.
    pub(crate) until: Option<&'static str>,
    /// Whether tickets can be kept.
    pub(crate) deaf: bool,
}

#[async_trait::async_trait]
impl Progress for Ear {
    fn log(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn spent(&self, cost: Cost) {
        *self.spent.lock().unwrap() = cost;
    }

    async fn submitted(&self, ticket: &str) -> Result<(), String> {
        if self.deaf {
            return Err("the database is away".to_owned());
        }
        self.tickets.lock().unwrap().push(ticket.to_owned());
        if self.until.is_some_and(|word| ticket.contains(word)) {
            self.cancelled.store(true, Ordering::Release);
        }
        Ok(())
    }
}

impl Ear {
    pub(crate) fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub(crate) fn spent(&self) -> Cost {
        *self.spent.lock().unwrap()
    }

    pub(crate) fn ticket(&self) -> String {
        self.tickets.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

/// Makers with these settings, as the owner would write them, at a pace that tests can bear.
pub(crate) fn makers(toml: &str) -> Arc<Makers> {
    makers_with(toml, Options { allow_private: true, ..Options::default() })
}

pub(crate) fn makers_with(toml: &str, options: Options) -> Arc<Makers> {
    listen();
    let settings: Settings = toml::from_str(toml).unwrap();
    Arc::new(Makers::new(&settings, Options { pace: Some(0.002), ..options }).unwrap())
}

pub(crate) fn taped(toml: &str, tape: Tape) -> Arc<Makers> {
    makers_with(toml, Options { allow_private: true, tape, ..Options::default() })
}

/// `[bfl]` and its siblings with the key of these tests.
pub(crate) fn section(name: &str, base: &str, more: &str) -> String {
    format!("[{name}]\napi_key = \"{KEY}\"\nbase_url = \"{base}\"\n{more}\n")
}

/// A call with these values.
pub(crate) fn call(endpoint: &str, values: Value) -> Call {
    let values = values.as_object().unwrap().clone();
    let seed = values.get("seed").and_then(Value::as_u64).unwrap_or(42);
    Call { endpoint: endpoint.to_owned(), values, seed, ..Call::default() }
}

pub(crate) fn with_image(mut call: Call, field: &str, bytes: Vec<u8>) -> Call {
    call.images.entry(field.to_owned()).or_default().push(bytes.into());
    call
}

/// Runs a call, looks for the key in everything that comes of it, and compares what it cost with the maker's account.
pub(crate) async fn run(makers: &Makers, id: MakerId, call: &Call) -> (Result<Made, MakerError>, Ear) {
    let before = makers.spent(id);
    let (result, ear) = run_beside_others(makers, id, call).await;
    // a call that was begun before was paid for before
    if call.resume.is_none() {
        assert_eq!(makers.spent(id) - before, ear.spent(), "the maker's account and the call's differ");
    }
    (result, ear)
}

/// The same while others spend from the same account.
pub(crate) async fn run_beside_others(makers: &Makers, id: MakerId, call: &Call) -> (Result<Made, MakerError>, Ear) {
    let ear = Ear::default();
    let result = makers.get(id).run(call, &ear).await;
    assert_no_key(&result, &ear);
    (result, ear)
}

pub(crate) fn assert_no_key(result: &Result<Made, MakerError>, ear: &Ear) {
    let mut told = format!("{}\n{}", ear.log(), ear.tickets.lock().unwrap().join("\n"));
    match result {
        Ok(made) => told.push_str(&format!("{made:?}")),
        Err(error) => told.push_str(&format!("{error:?} {error} {:?}", error.answer())),
    }
    told.push_str(&LINES.get().unwrap().0.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(!told.contains(KEY), "the key was told");
}

/// Status, kind, retry mark and place of an error.
#[track_caller]
pub(crate) fn told(result: &Result<Made, MakerError>) -> (u16, String, bool, Value) {
    let error = result.as_ref().err().unwrap();
    let refusal = error.refusal().unwrap();
    let answer = error.answer().unwrap();
    let header = |name: &str| answer.headers.iter().find(|(key, _)| *key == name).unwrap().1.clone();
    assert_eq!(header("x-fal-retryable"), refusal.retryable.to_string());
    assert_eq!(header("x-fal-needs-retry"), if refusal.retryable { "1" } else { "0" });
    assert_eq!(answer.status, refusal.status);
    let detail = &answer.body["detail"][0];
    assert!(!detail["msg"].as_str().unwrap().is_empty());
    assert!(!detail["msg"].as_str().unwrap().contains("WORDS"), "a maker's words are in an answer");
    (refusal.status, refusal.problem.kind.clone(), refusal.retryable, detail["loc"].clone())
}

pub(crate) fn unavailable(retryable: bool) -> (u16, String, bool, Value) {
    (500, "downstream_service_unavailable".to_owned(), retryable, json!(["body"]))
}

pub(crate) fn failed(retryable: bool) -> (u16, String, bool, Value) {
    (400, "downstream_service_error".to_owned(), retryable, json!(["body"]))
}

pub(crate) fn moderated(field: &str) -> (u16, String, bool, Value) {
    (422, "content_policy_violation".to_owned(), false, json!(["body", field]))
}

pub(crate) fn nothing() -> (u16, String, bool, Value) {
    (422, "no_media_generated".to_owned(), false, json!(["body", "prompt"]))
}

pub(crate) fn late() -> (u16, String, bool, Value) {
    (504, "generation_timeout".to_owned(), false, json!(["body"]))
}

pub(crate) fn bad(kind: &str, loc: Value) -> (u16, String, bool, Value) {
    (422, kind.to_owned(), false, loc)
}

/// A picture of some colours.
pub(crate) fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let shade = |x, y| image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, 120]);
    encoded(&DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, shade)), format)
}

pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn jpeg() -> Vec<u8> {
    picture(64, 48, ImageFormat::Jpeg)
}

pub(crate) fn png() -> Vec<u8> {
    picture(64, 48, ImageFormat::Png)
}

pub(crate) fn bytes(made: &Result<Made, MakerError>) -> Vec<Bytes> {
    made.as_ref().unwrap().files.iter().map(|file| file.bytes.clone()).collect()
}

/// Everything that is logged, by this crate and by those below it, at the finest level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

static LINES: OnceLock<Lines> = OnceLock::new();

fn listen() {
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let _ = tracing::subscriber::set_global_default(subscriber.with_writer(move || writer.clone()).finish());
        lines
    });
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
