//! Sizes: `1024x768` as an endpoint says it.

use serde_json::{Map, Value, json};

use super::errors::OpenAiError;
use super::words::text;
use crate::endpoint::{Endpoint, Sizing};

/// Whether the size is left to the model.
pub(super) fn is_auto(given: &Map<String, Value>) -> Result<bool, OpenAiError> {
    Ok(text(given, "size")?.is_none_or(|size| size == "auto"))
}

/// Puts the size into an input: in pixels, which validation fits to the model, or as the ratio that is nearest. `auto`
/// is the model's own.
pub(super) fn set(
    endpoint: &Endpoint,
    given: &Map<String, Value>,
    input: &mut Map<String, Value>,
) -> Result<(), OpenAiError> {
    let Some(size) = text(given, "size")?.filter(|size| *size != "auto") else { return Ok(()) };
    let sides = size.split_once('x').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
    let Some((width, height)) = sides.filter(|(w, h)| *w > 0 && *h > 0) else {
        let message = format!("size must be auto or WIDTHxHEIGHT in pixels, such as 1024x768, not {}", short(size));
        return Err(OpenAiError::invalid(Some("size"), message));
    };
    if endpoint.field("image_size").is_some() {
        input.insert("image_size".into(), json!({ "width": width, "height": height }));
        return Ok(());
    }
    match endpoint.sizing.first() {
        Some(Sizing::Ratio(table)) => {
            let asked = f64::from(width) / f64::from(height);
            let distance = |w: u32, h: u32| (f64::from(w) / f64::from(h) / asked).ln().abs();
            let nearest = table.iter().min_by(|a, b| distance(a.1, a.2).total_cmp(&distance(b.1, b.2)));
            input.extend(nearest.map(|(ratio, ..)| ("aspect_ratio".to_owned(), Value::from(*ratio))));
            Ok(())
        }
        Some(Sizing::Fixed(w, h)) if u64::from(*w) * u64::from(height) != u64::from(*h) * u64::from(width) => {
            let message = format!("{} draws {w}x{h} only, and {size} has another ratio", endpoint.id);
            Err(OpenAiError::invalid(Some("size"), message))
        }
        // as large as the picture that it starts from, or of the one size that there is
        _ => Ok(()),
    }
}

/// What is repeated of a text in a message.
pub(super) fn short(text: &str) -> String {
    const CHARACTERS: usize = 40;
    match text.char_indices().nth(CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::find;

    fn of(id: &str, size: &str) -> Option<Value> {
        let (given, mut input) = (Map::from_iter([("size".to_owned(), size.into())]), Map::new());
        set(find(id).expect("an endpoint"), &given, &mut input).ok().map(|()| Value::Object(input))
    }

    #[test]
    fn sizes_are_pixels_or_the_nearest_ratio_or_are_refused() {
        let pixels = json!({ "image_size": { "width": 640, "height": 480 } });
        assert_eq!(of("fal-ai/flux/schnell", "640x480"), Some(pixels));
        assert_eq!(of("fal-ai/ideogram/v2", "1792x1024"), Some(json!({ "aspect_ratio": "16:9" })));
        assert_eq!(of("fal-ai/imagen4/preview", "1024x1536"), Some(json!({ "aspect_ratio": "3:4" })));
        for fine in ["auto", "1024x1024", "512x512"] {
            assert_eq!(of("fal-ai/aura-flow", fine), Some(json!({})), "{fine}");
        }
        assert_eq!(of("fal-ai/aura-flow", "1536x1024"), None, "it has one ratio");
        for bad in ["huge", "0x5", "5", "x", "-1x5", "99999999999x1"] {
            assert_eq!(of("fal-ai/flux/schnell", bad), None, "{bad}");
        }
        assert_eq!(of("fal-ai/flux-pro/v1/fill", "1024x1024"), Some(json!({})), "as large as its picture");
    }
}
