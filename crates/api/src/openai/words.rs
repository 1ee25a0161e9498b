//! Single values of what a program said.

use serde_json::{Map, Value};

use super::errors::OpenAiError;

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
