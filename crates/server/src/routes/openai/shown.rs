//! What jobs made, as OpenAI's clients read it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use scumble_api::{ImageFormat, OpenAiCall, openai_images, own_files};
use serde_json::Value;

use super::jobs::{Going, outcomes};
use super::refused::Refused;
use crate::addressing::{Caller, Service};
use crate::answer::{about, with_headers};
use crate::state::AppState;
use crate::submit::Origin;

/// A picture of an output.
pub(super) struct Shown {
    /// Base64, or its URL.
    pub(super) text: String,
    /// `1024x768`, where the output tells.
    pub(super) size: Option<String>,
    /// OpenAI's word for its format.
    pub(super) format: &'static str,
}

/// The answer to a call that is not a stream.
pub(super) async fn whole(from: Origin<'_>, call: &OpenAiCall, going: Vec<Going>) -> Result<Response, Refused> {
    let Origin { state, caller, .. } = from;
    let first = going.first().map(|going| going.id);
    let (mut shown, mut headers) = (Vec::new(), None);
    for outcome in outcomes(state, going).await? {
        let mut body = outcome.body;
        shown.extend(pictures(&mut body, call.as_base64, state, caller).await?);
        headers.get_or_insert(outcome.headers);
    }
    let texts: Vec<String> = shown.iter_mut().map(|shown| std::mem::take(&mut shown.text)).collect();
    let (size, format) = (shown.first().and_then(|s| s.size.as_deref()), shown.first().map(|s| s.format));
    let answer = openai_images(state.clock.now_ms() / 1000, &texts, call, size, format);
    let headers = headers.unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let response = with_headers(Json(answer).into_response(), headers);
    Ok(match first {
        Some(id) => about(id, response),
        None => response,
    })
}

/// What an output shows, as URLs or in base64.
pub(super) async fn pictures(
    output: &mut Value,
    as_base64: bool,
    state: &AppState,
    caller: &Caller,
) -> scumble_files::Result<Vec<Shown>> {
    for file in own_files(output) {
        *file.place = match (as_base64, file.path.parse()) {
            (true, Ok(path)) => {
                let uri = state.files.data_uri(&path).await?;
                uri.split_once(',').map_or_else(String::new, |(_, base64)| base64.to_owned())
            }
            // only paths that the worker wrote come here
            (true, Err(_)) => String::new(),
            (false, _) => caller.url(Service::Cdn, &format!("/files/{}", file.path)),
        };
    }
    let images = output["images"].as_array_mut().map(std::mem::take).unwrap_or_default();
    Ok(images.into_iter().filter_map(shown).collect())
}

fn shown(mut image: Value) -> Option<Shown> {
    let side = |name: &str| image[name].as_u64().filter(|side| *side > 0);
    let size = side("width").zip(side("height")).map(|(width, height)| format!("{width}x{height}"));
    let format = image["content_type"].as_str().and_then(ImageFormat::of_content_type);
    let format = match format {
        Some(ImageFormat::Jpeg) => "jpeg",
        Some(ImageFormat::Webp) => "webp",
        Some(ImageFormat::Svg) => "svg",
        Some(ImageFormat::Png) | None => "png",
    };
    let Value::String(text) = image["url"].take() else { return None };
    Some(Shown { text, size, format })
}
