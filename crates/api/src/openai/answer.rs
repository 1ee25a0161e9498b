//! Whole answers.

use serde_json::{Value, json};

use super::call::OpenAiCall;

/// The answer to a call; each entry is a URL, or base64 where that was asked for. `size` is that of the pictures and
/// `format` theirs, where these are known.
pub fn openai_images(
    created_s: i64,
    pictures: &[String],
    call: &OpenAiCall,
    size: Option<&str>,
    format: Option<&str>,
) -> Value {
    let name = if call.as_base64 { "b64_json" } else { "url" };
    let data: Vec<Value> = pictures.iter().map(|picture| json!({ name: picture })).collect();
    let mut answer = json!({ "created": created_s, "data": data });
    if call.said.in_full {
        answer["background"] = "opaque".into();
        answer["output_format"] = format.into();
        answer["size"] = size.into();
        answer["usage"] = usage();
    }
    answer
}

/// No tokens are counted here, and programs add them up.
pub(super) fn usage() -> Value {
    json!({
        "input_tokens": 0,
        "input_tokens_details": { "image_tokens": 0, "text_tokens": 0 },
        "output_tokens": 0,
        "total_tokens": 0,
    })
}
