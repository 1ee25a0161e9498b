//! OpenAI's image API on the same endpoints: `POST /v1/images/generations` and `GET /v1/models`.
//!
//! `model` is an endpoint's id. Words of OpenAI's that mean nothing to a model here (`quality`, `style`, `background`,
//! `moderation`, `user`, `output_compression`) are taken and have no effect.

use serde_json::{Map, Value, json};

use crate::endpoint::{Endpoint, Sizing};
use crate::endpoints::{ENDPOINTS, find};
use crate::error::ErrorAnswer;
use crate::field::Kind;

/// A call of OpenAI's, in our words.
#[derive(Debug)]
pub struct OpenAiCall {
    /// What is called.
    pub endpoint: &'static Endpoint,
    /// Its input, not checked yet.
    pub input: Value,
    /// Whether the answer holds the pictures themselves instead of URLs.
    pub as_base64: bool,
}

/// An error in OpenAI's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAiError {
    /// HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<&'static str>,
}

/// Names of fields: ours and OpenAI's.
const NAMES: [(&str, &str); 2] = [("num_images", "n"), ("image_size", "size")];
/// Pictures of one call, as OpenAI limits them.
const IMAGES_MAX: u64 = 10;

impl OpenAiCall {
    /// Reads the body of `POST /v1/images/generations`.
    ///
    /// # Errors
    /// What a client of OpenAI's can show: which parameter is wrong, and what is allowed.
    pub fn read(body: &Value) -> Result<Self, OpenAiError> {
        let Value::Object(given) = body else {
            return Err(OpenAiError::invalid(None, "The body must be an object of JSON"));
        };
        let text = |name: &str| text(given, name);
        let endpoint = model(text("model")?)?;
        let mut input = Map::new();
        if let Some(prompt) = text("prompt")? {
            input.insert("prompt".into(), prompt.into());
        }
        if let Some(size) = text("size")?.filter(|size| *size != "auto") {
            set_size(endpoint, size, &mut input)?;
        }
        if let Some(n) = given.get("n").filter(|n| !n.is_null()) {
            set_count(endpoint, n, &mut input)?;
        }
        if let Some(format) = text("output_format")? {
            set_format(endpoint, format, &mut input)?;
        }
        if given.get("stream") == Some(&Value::Bool(true)) {
            return Err(OpenAiError::invalid(Some("stream"), "stream is not available here; leave it out"));
        }
        let as_base64 = match text("response_format")? {
            None | Some("url") => false,
            Some("b64_json") => true,
            Some(other) => {
                let message = format!("response_format must be url or b64_json, not {other}");
                return Err(OpenAiError::invalid(Some("response_format"), message));
            }
        };
        Ok(Self { endpoint, input: Value::Object(input), as_base64 })
    }
}

fn text<'a>(given: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, OpenAiError> {
    match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(OpenAiError::invalid(Some(name), format!("{name} must be a string"))),
    }
}

/// The endpoint that `model` names; one that starts from a picture is not for this call.
fn model(id: Option<&str>) -> Result<&'static Endpoint, OpenAiError> {
    let Some(id) = id else {
        let message = "model is missing: the id of an endpoint, such as scumble/starter; GET /v1/models lists them";
        return Err(OpenAiError::invalid(Some("model"), message));
    };
    let Some(endpoint) = find(id) else {
        let message = format!("The model '{id}' does not exist here; GET /v1/models lists those that do");
        return Err(OpenAiError {
            code: Some("model_not_found"),
            status: 404,
            ..OpenAiError::invalid(Some("model"), message)
        });
    };
    match endpoint.edits() {
        true => Err(OpenAiError::invalid(Some("model"), format!("{id} starts from a picture; call it by fal's API"))),
        false => Ok(endpoint),
    }
}

/// `1024x768` as the endpoint says it: in pixels, or the ratio that is nearest.
fn set_size(endpoint: &Endpoint, size: &str, input: &mut Map<String, Value>) -> Result<(), OpenAiError> {
    let sides = size.split_once('x').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
    let Some((width, height)) = sides.filter(|(w, h)| *w > 0 && *h > 0) else {
        let message = format!("size must be auto or WIDTHxHEIGHT in pixels, such as 1024x768, not {size}");
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
        Some(Sizing::Fixed(w, h)) if (*w, *h) != (width, height) => {
            Err(OpenAiError::invalid(Some("size"), format!("{} draws {w}x{h} only", endpoint.id)))
        }
        _ => Ok(()),
    }
}

fn set_count(endpoint: &Endpoint, n: &Value, input: &mut Map<String, Value>) -> Result<(), OpenAiError> {
    if !n.as_u64().is_some_and(|n| (1..=IMAGES_MAX).contains(&n)) {
        return Err(OpenAiError::invalid(Some("n"), format!("n must be a whole number from 1 to {IMAGES_MAX}")));
    }
    if endpoint.field("num_images").is_some() {
        input.insert("num_images".into(), n.clone());
    } else if *n != json!(1) {
        return Err(OpenAiError::invalid(Some("n"), format!("{} makes one picture per call", endpoint.id)));
    }
    Ok(())
}

fn set_format(endpoint: &Endpoint, format: &str, input: &mut Map<String, Value>) -> Result<(), OpenAiError> {
    let Some(field) = endpoint.field("output_format") else { return Ok(()) };
    match field.kind {
        Kind::Choice(words) if !words.contains(&format) => {
            let message = format!("output_format must be {} for {}, not {format}", words.join(" or "), endpoint.id);
            Err(OpenAiError::invalid(Some("output_format"), message))
        }
        _ => {
            input.insert("output_format".into(), format.into());
            Ok(())
        }
    }
}

impl OpenAiError {
    /// A call that cannot be answered as it is.
    pub fn invalid(param: Option<&str>, message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), param: param.map(str::to_owned), code: None }
    }

    /// What an answer of ours says, in OpenAI's words.
    pub fn of(answer: &ErrorAnswer) -> Self {
        let problem = &answer.body["detail"][0];
        let field = problem["loc"][1].as_str();
        let param = field.map(|name| NAMES.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| theirs));
        let code = match (answer.status, problem["type"].as_str()) {
            (_, Some("content_policy_violation")) => Some("moderation_blocked"),
            (401, _) => Some("invalid_api_key"),
            (429, _) => Some("rate_limit_exceeded"),
            _ => None,
        };
        // their clients know no 422
        let status = if answer.status == 422 { 400 } else { answer.status };
        Self { status, message: answer.message(), param: param.map(str::to_owned), code }
    }

    /// The envelope.
    pub fn body(&self) -> Value {
        let kind = match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let Self { message, param, code, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

/// The answer to `POST /v1/images/generations`; each entry is a URL, or base64 where that was asked for.
pub fn openai_images(created_s: i64, pictures: &[String], as_base64: bool) -> Value {
    let name = if as_base64 { "b64_json" } else { "url" };
    let data: Vec<Value> = pictures.iter().map(|picture| json!({ name: picture })).collect();
    json!({ "created": created_s, "data": data })
}

/// The answer to `GET /v1/models`, for those who speak OpenAI's API.
pub fn openai_models() -> Value {
    json!({ "object": "list", "data": ENDPOINTS.iter().map(openai_model).collect::<Vec<_>>() })
}

/// One entry of it.
pub fn openai_model(endpoint: &Endpoint) -> Value {
    // when the table was begun; the field is required and means nothing here
    const CREATED_S: i64 = 1_760_000_000;
    let owner = endpoint.id.split('/').next().unwrap_or_default();
    json!({ "id": endpoint.id, "object": "model", "created": CREATED_S, "owned_by": owner })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    fn input(body: &Value) -> Result<Value, (u16, Option<String>)> {
        OpenAiCall::read(body).map(|call| call.input).map_err(|error| (error.status, error.param))
    }

    #[test]
    fn their_words_become_ours() {
        let schnell = |rest: Value| {
            let mut body =
                Map::from_iter([("model".into(), "fal-ai/flux/schnell".into()), ("prompt".into(), "x".into())]);
            body.extend(rest.as_object().cloned().unwrap_or_default());
            input(&Value::Object(body))
        };
        assert_eq!(schnell(json!({ "quality": "hd", "user": "u", "size": "auto" })), Ok(json!({ "prompt": "x" })));
        let all = json!({ "prompt": "x", "image_size": { "width": 640, "height": 480 }, "num_images": 2, "output_format": "png" });
        assert_eq!(schnell(json!({ "size": "640x480", "n": 2, "output_format": "png" })), Ok(all));
        for (bad, param) in [
            (json!({ "size": "huge" }), "size"),
            (json!({ "size": "0x5" }), "size"),
            (json!({ "n": 11 }), "n"),
            (json!({ "n": "2" }), "n"),
            (json!({ "output_format": "webp" }), "output_format"),
            (json!({ "response_format": "file" }), "response_format"),
            (json!({ "stream": true }), "stream"),
            (json!({ "prompt": 5 }), "prompt"),
        ] {
            assert_eq!(schnell(bad), Err((400, Some(param.to_owned()))));
        }
    }

    #[test]
    fn sizes_find_the_nearest_ratio_or_are_refused() {
        let of = |model: &str, size: &str| input(&json!({ "model": model, "prompt": "x", "size": size }));
        assert_eq!(of("fal-ai/ideogram/v2", "1792x1024"), Ok(json!({ "prompt": "x", "aspect_ratio": "16:9" })));
        assert_eq!(of("fal-ai/imagen4/preview", "1024x1536"), Ok(json!({ "prompt": "x", "aspect_ratio": "3:4" })));
        assert_eq!(of("fal-ai/aura-flow", "1024x1024"), Ok(json!({ "prompt": "x" })));
        assert_eq!(of("fal-ai/aura-flow", "512x512"), Err((400, Some("size".into()))));
    }

    #[test]
    fn models_that_are_none_or_need_a_picture_are_refused() {
        let of = |model: Value| input(&json!({ "model": model, "prompt": "x" }));
        assert_eq!(of(json!("dall-e-3")), Err((404, Some("model".into()))));
        assert_eq!(of(json!("fal-ai/ideogram/v3/remix")), Err((400, Some("model".into()))));
        assert_eq!(of(Value::Null), Err((400, Some("model".into()))));
        assert_eq!(input(&json!([])), Err((400, None)));
    }

    #[test]
    fn errors_take_their_envelope_and_their_names() {
        let problem = Problem::new(&["num_images"], "less_than_equal", "Input should be less than or equal to 4");
        let error = OpenAiError::of(&ErrorAnswer::invalid(&[problem]));
        assert_eq!((error.status, error.param.as_deref()), (400, Some("n")));
        assert_eq!(error.body()["error"]["type"], "invalid_request_error");
        let error = OpenAiError::of(&ErrorAnswer::plain(401, "This key is not valid here"));
        assert_eq!(error.body()["error"]["code"], "invalid_api_key");
    }
}
