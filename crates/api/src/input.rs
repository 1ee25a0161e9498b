//! A checked input.

use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::image_size::{DEFAULT_SIDE, ImageSize};

/// An input that has passed validation: every default is filled, every value is of its type and within its limits.
#[derive(Clone, Debug)]
pub struct Input {
    endpoint: &'static Endpoint,
    values: Map<String, Value>,
    ignored: Vec<String>,
}

/// The input of a text-to-image endpoint, typed.
#[derive(Clone, Debug, PartialEq)]
pub struct TextToImage {
    /// What to draw.
    pub prompt: String,
    /// Size in pixels.
    pub size: ImageSize,
    /// Denoising steps.
    pub steps: u32,
    /// Guidance scale, where the endpoint has one.
    pub guidance: Option<f64>,
    /// Seed, where the caller gave one.
    pub seed: Option<u64>,
    /// Pictures.
    pub images: u32,
    /// File format.
    pub format: ImageFormat,
    /// Whether pictures come back inside the answer.
    pub sync_mode: bool,
    /// Text tokens; only from the owner's own command line.
    pub max_sequence_length: Option<u32>,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// Lossy, small.
    Jpeg,
    /// Lossless.
    Png,
}

impl ImageFormat {
    /// The MIME type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    /// The usual end of a file's name, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    /// By the end of a file's name, in any letter case.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            _ => None,
        }
    }
}

impl Input {
    /// From values that validation made.
    pub(crate) fn checked(endpoint: &'static Endpoint, values: Map<String, Value>, ignored: Vec<String>) -> Self {
        Self { endpoint, values, ignored }
    }

    /// The endpoint it is for.
    pub fn endpoint(&self) -> &'static Endpoint {
        self.endpoint
    }

    /// The values, in the endpoint's field order.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// As one JSON object, for the queue.
    pub fn to_json(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// Names that the endpoint does not have; the job's log mentions them.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The typed view that text-to-image endpoints share.
    pub fn text_to_image(&self) -> TextToImage {
        let whole = |name: &str| self.values.get(name).and_then(Value::as_u64);
        let small = |name: &str, default: u32| whole(name).and_then(|n| n.try_into().ok()).unwrap_or(default);
        let text = |name: &str| self.values.get(name).and_then(Value::as_str);
        TextToImage {
            prompt: text("prompt").unwrap_or_default().to_owned(),
            size: self.size(),
            steps: small("num_inference_steps", 1),
            guidance: self.values.get("guidance_scale").and_then(Value::as_f64),
            seed: whole("seed"),
            images: small("num_images", 1),
            format: text("output_format").and_then(ImageFormat::of_extension).unwrap_or(ImageFormat::Jpeg),
            sync_mode: self.values.get("sync_mode").and_then(Value::as_bool).unwrap_or(false),
            max_sequence_length: whole("max_sequence_length").and_then(|n| n.try_into().ok()),
        }
    }

    fn size(&self) -> ImageSize {
        match self.values.get("image_size") {
            Some(Value::String(preset)) => ImageSize::preset(preset),
            Some(object) => {
                let side = |name: &str| object[name].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(DEFAULT_SIDE);
                Some(ImageSize { width: side("width"), height: side("height") })
            }
            None => None,
        }
        .unwrap_or(ImageSize { width: 1024, height: 1024 })
    }
}
