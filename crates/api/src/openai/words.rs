//! Single values of what a program said.

use serde_json::{Map, Value};

use super::errors::OpenAiError;
use crate::endpoint::Endpoint;

/// A value of a form as JSON would say it: numbers and yes or no where OpenAI's API has them, otherwise text.
pub fn openai_form_value(name: &str, text: &str) -> Value {
    let read = match name {
        "n" | "partial_images" | "output_compression" => text.trim().parse::<u64>().ok().map(Value::from),
        "stream" => match text.trim() {
            word if word.eq_ignore_ascii_case("true") => Some(true.into()),
            word if word.eq_ignore_ascii_case("false") => Some(false.into()),
            _ => None,
        },
        _ => None,
    };
    read.unwrap_or_else(|| text.into())
}

/// All that OpenAI's image API knows, with or without effect here.
const KNOWN: [&str; 18] = [
    "model",
    "prompt",
    "n",
    "size",
    "quality",
    "style",
    "background",
    "moderation",
    "user",
    "response_format",
    "output_format",
    "output_compression",
    "input_fidelity",
    "stream",
    "partial_images",
    "image",
    "images",
    "mask",
];

/// So many words are named, and so much of each.
const NAMES: usize = 20;

/// What the job's log says of words that OpenAI's API does not have: they are not taken, even where the endpoint has them.
pub(super) fn notes(endpoint: &Endpoint, given: &Map<String, Value>) -> Vec<String> {
    let id = endpoint.id;
    let unknown = given.keys().filter(|name| !KNOWN.contains(&name.as_str()));
    let note = |name: &String| {
        let short = super::sizes::short(name);
        match endpoint.field(name) {
            Some(_) => format!("OpenAI's images API has no {short}; it was ignored. {id} has it: POST /run/{id}"),
            None => format!("OpenAI's images API has no {short}, nor has {id}; it was ignored"),
        }
    };
    unknown.take(NAMES).map(note).collect()
}

/// A text; `null` says nothing.
pub(super) fn text<'a>(given: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, OpenAiError> {
    match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(OpenAiError::invalid(Some(name), format!("{name} must be a string"))),
    }
}

/// A whole number within limits.
pub(super) fn whole(
    given: &Map<String, Value>,
    name: &str,
    (min, max): (u64, u64),
) -> Result<Option<u64>, OpenAiError> {
    let Some(value) = given.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_u64().filter(|n| (min..=max).contains(n)) {
        Some(n) => Ok(Some(n)),
        None => Err(OpenAiError::invalid(Some(name), format!("{name} must be a whole number from {min} to {max}"))),
    }
}

/// Yes or no; no where nothing is said.
pub(super) fn flag(given: &Map<String, Value>, name: &str) -> Result<bool, OpenAiError> {
    match given.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(OpenAiError::invalid(Some(name), format!("{name} must be true or false"))),
    }
}
