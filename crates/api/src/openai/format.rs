//! How pictures are written and handed over.

use serde_json::{Map, Value};

use super::errors::OpenAiError;
use super::names::{gives_base64, is_openai_name};
use super::sizes::short;
use super::words::{text, whole};
use crate::endpoint::Endpoint;
use crate::field::Kind;
use crate::image_format::{Encoding, ImageFormat};

const FORMATS: [(&str, ImageFormat); 3] =
    [("png", ImageFormat::Png), ("jpeg", ImageFormat::Jpeg), ("webp", ImageFormat::Webp)];

/// The format that was asked for, or that programs expect of this name; the endpoint's own where neither says one. What
/// the endpoint can be asked for stands in its input too, so that makers draw it without a loss on the way.
pub(super) fn set(
    endpoint: &Endpoint,
    name: Option<&str>,
    given: &Map<String, Value>,
    input: &mut Map<String, Value>,
) -> Result<Option<Encoding>, OpenAiError> {
    let asked = text(given, "output_format")?.or_else(|| is_openai_name(name).then_some("png"));
    let compression = whole(given, "output_compression", (0, 100))?;
    let Some(word) = asked else { return Ok(None) };
    let Some((word, format)) = FORMATS.into_iter().find(|(known, _)| *known == word) else {
        let message = format!("output_format must be png, jpeg or webp, not {}", short(word));
        return Err(OpenAiError::invalid(Some("output_format"), message));
    };
    // WebP is written without loss, as PNG is
    let quality = compression.filter(|_| format == ImageFormat::Jpeg).map(|percent| percent.clamp(1, 100) as u8);
    if let Some(Kind::Choice(words)) = endpoint.field("output_format").map(|field| field.kind) {
        let direct = quality.is_none() && words.contains(&word);
        let source = if direct { word } else { "png" };
        if words.contains(&source) {
            input.insert("output_format".into(), source.into());
        }
    }
    Ok(Some(Encoding { format, quality }))
}

/// Whether the answer holds the pictures themselves instead of URLs.
pub(super) fn as_base64(name: Option<&str>, given: &Map<String, Value>) -> Result<bool, OpenAiError> {
    match text(given, "response_format")? {
        None => Ok(gives_base64(name)),
        Some("url") => Ok(false),
        Some("b64_json") => Ok(true),
        Some(other) => {
            let message = format!("response_format must be url or b64_json, not {}", short(other));
            Err(OpenAiError::invalid(Some("response_format"), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpoints::find;

    fn of(id: &str, name: &str, given: Value) -> Result<(Option<Encoding>, Value), Option<String>> {
        let Value::Object(given) = given else { panic!("an object") };
        let mut input = Map::new();
        let encoding = set(find(id).expect("an endpoint"), Some(name), &given, &mut input);
        encoding.map(|encoding| (encoding, Value::Object(input))).map_err(|error| error.param)
    }

    #[test]
    fn every_model_gives_every_format_and_their_names_give_png() {
        let schnell = "fal-ai/flux/schnell";
        let plain = |format| Some(Encoding { format, quality: None });
        assert_eq!(of(schnell, schnell, json!({})), Ok((None, json!({}))));
        let png = Ok((plain(ImageFormat::Png), json!({ "output_format": "png" })));
        assert_eq!(of(schnell, "gpt-image-1", json!({})), png);
        let webp = of(schnell, schnell, json!({ "output_format": "webp", "output_compression": 90 }));
        assert_eq!(webp, Ok((plain(ImageFormat::Webp), json!({ "output_format": "png" }))));
        let jpeg = of(schnell, schnell, json!({ "output_format": "jpeg", "output_compression": 0 }));
        let worst = Some(Encoding { format: ImageFormat::Jpeg, quality: Some(1) });
        assert_eq!(jpeg, Ok((worst, json!({ "output_format": "png" }))));
        let fixed = of("fal-ai/aura-flow", "dall-e-3", json!({ "output_format": "jpeg" }));
        assert_eq!(fixed, Ok((plain(ImageFormat::Jpeg), json!({}))));
        for (bad, param) in [
            (json!({ "output_format": "gif" }), "output_format"),
            (json!({ "output_compression": 101 }), "output_compression"),
        ] {
            assert_eq!(of(schnell, schnell, bad), Err(Some(param.to_owned())));
        }
    }

    #[test]
    fn their_newer_names_answer_base64_and_everybody_gets_what_was_asked_for() {
        let of = |name: &str, word: Option<&str>| {
            as_base64(Some(name), &word.map(|word| ("response_format".to_owned(), word.into())).into_iter().collect())
                .ok()
        };
        assert_eq!(of("gpt-image-1", None), Some(true));
        assert_eq!(of("gpt-image-1", Some("url")), Some(false));
        assert_eq!(of("dall-e-3", None), Some(false));
        assert_eq!(of("scumble/starter", Some("b64_json")), Some(true));
        assert_eq!(of("scumble/starter", Some("file")), None);
    }
}
