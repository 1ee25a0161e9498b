//! Errors in OpenAI's envelope.

use serde_json::{Value, json};

use crate::error::ErrorAnswer;

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
const NAMES: [(&str, &str); 5] = [
    ("num_images", "n"),
    ("image_size", "size"),
    ("image_url", "image"),
    ("input_image_urls", "image"),
    ("mask_url", "mask"),
];

impl OpenAiError {
    /// A call that cannot be answered as it is.
    pub fn invalid(param: Option<&str>, message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), param: param.map(str::to_owned), code: None }
    }

    /// No model of this name.
    pub fn no_such_model(name: &str) -> Self {
        let message = format!("The model '{name}' does not exist here; GET /v1/models lists those that do");
        Self { status: 404, code: Some("model_not_found"), ..Self::invalid(Some("model"), message) }
    }

    /// What an answer of ours says, in OpenAI's words.
    pub fn of(answer: &ErrorAnswer) -> Self {
        let problem = &answer.body["detail"][0];
        let field = problem["loc"][1].as_str();
        let param = field.map(theirs);
        let code = match (answer.status, problem["type"].as_str()) {
            (_, Some("content_policy_violation")) => Some("moderation_blocked"),
            (401, _) => Some("invalid_api_key"),
            (429, _) => Some("rate_limit_exceeded"),
            _ => None,
        };
        // their clients know no 422
        let status = if answer.status == 422 { 400 } else { answer.status };
        Self { status, message: answer.message_with(&named), param: param.map(str::to_owned), code }
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

/// A field's name in OpenAI's words.
fn theirs(ours: &str) -> &str {
    NAMES.iter().find(|(name, _)| *name == ours).map_or(ours, |(_, theirs)| theirs)
}

/// Where a problem is: `size (height)`, where OpenAI has one word and the input an object.
fn named(path: &[String]) -> String {
    match path {
        [] => String::new(),
        [field] => theirs(field).to_owned(),
        [field, inside @ ..] => format!("{} ({})", theirs(field), inside.join(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    #[test]
    fn errors_take_their_envelope_and_their_names() {
        for (ours, theirs) in [("num_images", "n"), ("mask_url", "mask"), ("prompt", "prompt")] {
            let problem = Problem::new(&[ours], "less_than_equal", "Input should be less than or equal to 4");
            let error = OpenAiError::of(&ErrorAnswer::invalid(&[problem]));
            assert_eq!((error.status, error.param.as_deref()), (400, Some(theirs)));
            assert_eq!(error.message, format!("{theirs}: Input should be less than or equal to 4"));
            assert_eq!(error.body()["error"]["type"], "invalid_request_error");
        }
        let inside = Problem::new(&["image_size", "height"], "greater_than_equal", "Input should be …");
        assert_eq!(OpenAiError::of(&ErrorAnswer::invalid(&[inside])).message, "size (height): Input should be …");
        let error = OpenAiError::of(&ErrorAnswer::plain(401, "This key is not valid here"));
        assert_eq!(error.body()["error"]["code"], "invalid_api_key");
    }
}
