//! The seam: what a maker is asked for, what it tells meanwhile, what it made.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::cost::Cost;
use super::error::MakerError;

/// One call of one endpoint, validated and with its pictures read.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Such as `fal-ai/flux-pro/v1.1`.
    pub endpoint: String,
    /// Every field with its default.
    pub values: Map<String, Value>,
    /// The caller's seed, or the one that was drawn.
    pub seed: u64,
    /// The pictures behind fields such as `image_url`, `mask_url` and `image_urls`, by field.
    pub images: BTreeMap<String, Vec<Bytes>>,
    /// How long the caller still waits, where the caller said so.
    pub patience: Option<Duration>,
    /// What [`Progress::submitted`] was told last, if this call was begun before.
    pub resume: Option<String>,
}

/// Hears how a call goes on, and knows whether it should stop.
#[async_trait::async_trait]
pub trait Progress: Send + Sync {
    /// A line for the job's log. It never holds a key.
    fn log(&self, line: &str);

    /// Whether the call should end now.
    fn cancelled(&self) -> bool;

    /// Whether it ends only here, and is gone on with later: what was submitted has to stay where it is.
    fn resumes(&self) -> bool {
        false
    }

    /// What the call has cost so far, or may have cost, whatever becomes of it; said again whenever that changes.
    fn spent(&self, cost: Cost);

    /// Keeps what is needed to go on with this call after a restart instead of paying twice. It is told before anything
    /// is sent that may be billed, and again when the maker has given it an id.
    ///
    /// # Errors
    /// A sentence for the log, if it could not be kept: then nothing is sent.
    async fn submitted(&self, ticket: &str) -> Result<(), String>;
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Made {
    /// At least one.
    pub files: Vec<MadeFile>,
    /// The seed that the maker used, where it tells or was told one.
    pub seed: Option<u64>,
    /// In units of the endpoint's price: pictures, mostly.
    pub units: u32,
    /// From the first word to the maker to its last.
    pub inference: Duration,
    /// Which of the maker's models answered.
    pub model: String,
    /// Further fields of the output, where the maker's are fal's own.
    pub extra: Map<String, Value>,
}

/// A file that was downloaded and looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFile {
    /// All of it.
    pub bytes: Bytes,
    /// By its bytes, whatever the maker said.
    pub content_type: &'static str,
    /// As the endpoint's files are called: `image.png`.
    pub name: String,
    /// Columns and rows; none for drawings of lines.
    pub size: Option<(u32, u32)>,
}

/// Serves endpoints through a maker's API.
#[async_trait::async_trait]
pub trait Maker: Send + Sync {
    /// Whether this maker has an answer for the endpoint.
    fn serves(&self, endpoint: &str) -> bool;

    /// Whether calls can be made at all: what is missing, if anything.
    ///
    /// # Errors
    /// The error that every call would end with.
    fn ready(&self) -> Result<(), MakerError>;

    /// Runs one call to its end.
    async fn run(&self, call: &Call, progress: &dyn Progress) -> Result<Made, MakerError>;
}

impl Call {
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.values.get(field).and_then(Value::as_str)
    }

    pub(crate) fn flag(&self, field: &str) -> Option<bool> {
        self.values.get(field).and_then(Value::as_bool)
    }

    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.values.get(field).and_then(Value::as_f64)
    }

    /// How many pictures are wanted.
    pub(crate) fn count(&self) -> u32 {
        self.values.get("num_images").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1)
    }

    /// The wanted size in pixels, where the endpoint has one.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let side = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(512).max(1);
        match self.values.get("image_size")? {
            Value::String(preset) => scumble_api::ImageSize::preset(preset).map(|size| (size.width, size.height)),
            object => Some((side(&object["width"]), side(&object["height"]))),
        }
    }

    /// The picture behind a field.
    pub(crate) fn image(&self, field: &str) -> Option<&Bytes> {
        self.images.get(field).and_then(|files| files.first())
    }

    /// The pictures that are unpacked before a maker is asked: with a mask both that and what it lies on, and what is
    /// written anew because makers do not take it.
    pub(crate) fn unpacked(&self) -> Vec<Bytes> {
        let masked = self.images.contains_key("mask_url");
        let files = self.images.values().flatten();
        files.filter(|file| masked || file.starts_with(b"GIF8")).cloned().collect()
    }

    /// The prompt, which must say something.
    pub(crate) fn prompt(&self) -> Result<&str, MakerError> {
        let prompt = self.text("prompt").unwrap_or_default();
        match prompt.trim().is_empty() {
            true => Err(MakerError::value("prompt", "The prompt is empty; say what to draw")),
            false => Ok(prompt),
        }
    }
}
