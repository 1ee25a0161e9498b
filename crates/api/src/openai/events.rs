//! Events of a stream.

use serde_json::{Value, json};

use super::answer::usage;
use super::call::OpenAiCall;
use super::errors::OpenAiError;
use super::names::OpenAiTask;

/// An event: its name, which stands in its data too, and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAiEvent {
    /// `image_generation.completed` and the like.
    pub name: &'static str,
    /// What it tells.
    pub data: Value,
}

impl OpenAiEvent {
    /// How a picture looks by now: a small JPEG, whatever the format of the picture will be.
    pub fn partial(call: &OpenAiCall, created_s: i64, index: u64, base64: &str) -> Self {
        let name = match call.task {
            OpenAiTask::Generate => "image_generation.partial_image",
            OpenAiTask::Edit | OpenAiTask::Vary => "image_edit.partial_image",
        };
        let mut data = event(call, name, created_s, base64, (&call.said.size, "jpeg"));
        data["partial_image_index"] = index.into();
        Self { name, data }
    }

    /// A finished picture.
    pub fn completed(call: &OpenAiCall, created_s: i64, base64: &str, size: Option<&str>, format: &str) -> Self {
        let name = match call.task {
            OpenAiTask::Generate => "image_generation.completed",
            OpenAiTask::Edit | OpenAiTask::Vary => "image_edit.completed",
        };
        let mut data = event(call, name, created_s, base64, (size.unwrap_or(&call.said.size), format));
        data["usage"] = usage();
        Self { name, data }
    }
}

fn event(call: &OpenAiCall, name: &str, created_s: i64, base64: &str, (size, format): (&str, &str)) -> Value {
    json!({
        "type": name,
        "b64_json": base64,
        "created_at": created_s,
        "size": size,
        "quality": call.said.quality,
        "background": "opaque",
        "output_format": format,
    })
}

/// What goes wrong after the first event. Clients raise it.
pub fn openai_error_event(error: &OpenAiError) -> OpenAiEvent {
    let mut data = error.body();
    data["type"] = "error".into();
    OpenAiEvent { name: "error", data }
}
