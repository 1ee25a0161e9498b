//! Ideogram 2 and its relatives: JSON to `/generate`.

use serde_json::{Map, Value, json};

use super::{Order, seed, v3};
use crate::core::call::Call;
use crate::core::error::MakerError;
use crate::picture::Wish;
use crate::settings::IdeogramSettings;
use crate::wire::Body;

const ASPECTS: &[&str] = &["10:16", "16:10", "9:16", "16:9", "4:3", "3:4", "1:1", "1:3", "3:1", "3:2", "2:3"];
const STYLES: &[&str] = &["auto", "general", "realistic", "design", "render_3D", "anime"];

/// The model behind an endpoint, if it is one of these.
pub(super) fn model<'a>(endpoint: &str, v2: &'a str) -> Option<&'a str> {
    Some(match endpoint {
        "fal-ai/ideogram/v2" => v2,
        "fal-ai/ideogram/v2/turbo" => "V_2_TURBO",
        "fal-ai/ideogram/v2a" => "V_2A",
        "fal-ai/ideogram/v2a/turbo" => "V_2A_TURBO",
        _ => return None,
    })
}

pub(super) fn order(call: &Call, model: &str, settings: &IdeogramSettings) -> Result<Order, MakerError> {
    if model == "V_3" {
        return v3::instead_of_v2(call, settings);
    }
    let mut request = Map::new();
    request.insert("prompt".into(), call.prompt()?.into());
    request.insert("model".into(), model.into());
    let aspect = call.text("aspect_ratio").unwrap_or("1:1");
    if !ASPECTS.contains(&aspect) {
        return Err(MakerError::one_of("aspect_ratio", ASPECTS, &aspect.into()));
    }
    request.insert("aspect_ratio".into(), format!("ASPECT_{}", aspect.replace(':', "_")).into());
    request.insert("magic_prompt_option".into(), on_or_off(call.flag("expand_prompt").unwrap_or(true)).into());
    let style = call.text("style").unwrap_or("auto");
    if !STYLES.contains(&style) {
        return Err(MakerError::one_of("style", STYLES, &style.into()));
    }
    request.insert("style_type".into(), style.to_uppercase().into());
    request.insert("seed".into(), seed(call)?.into());
    if let Some(negative) = call.text("negative_prompt").filter(|text| !text.is_empty()) {
        request.insert("negative_prompt".into(), negative.into());
    }
    request.insert("num_images".into(), 1.into());
    Ok(Order {
        path: "/generate".to_owned(),
        body: Body::Json(json!({ "image_request": Value::Object(request) })),
        model: model.to_owned(),
        pictures: 1,
        wish: Wish::named("image"),
        notes: Vec::new(),
    })
}

pub(super) fn on_or_off(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}
