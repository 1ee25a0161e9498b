//! What a language model has answered.

use serde::Deserialize;

/// The longest prompt that is taken from an answer, in bytes: what a caller may send.
const LONGEST: usize = 32 * 1024;

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Reply,
}

#[derive(Deserialize)]
struct Reply {
    content: Option<String>,
}

/// The text of the first choice, without what a model thought aloud before it.
///
/// # Errors
/// A sentence for the caller's log.
pub(super) fn text(body: &[u8]) -> Result<String, String> {
    let completion: Completion = serde_json::from_slice(body)
        .map_err(|_| "what the language model answers is not a chat completion".to_owned())?;
    let content = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
    let content = content.unwrap_or_default();
    let text = match content.split_once("</think>") {
        Some((_, after)) => after,
        // it was still thinking when its tokens ended
        None if content.trim_start().starts_with("<think>") => "",
        None => &content,
    };
    let text = text.trim();
    match text.len() {
        0 => Err("the language model answers with an empty text".to_owned()),
        1..=LONGEST => Ok(text.to_owned()),
        n => Err(format!("the language model answers with {n} bytes; at most {LONGEST} are taken")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(content: &Value) -> Result<String, String> {
        text(json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] }).to_string().as_bytes())
    }

    #[test]
    fn the_text_is_taken_without_spaces_and_thoughts() {
        assert_eq!(said(&json!(" a fox\nin snow \n")), Ok("a fox\nin snow".to_owned()));
        assert_eq!(said(&json!("<think>\nHm.\n</think>\n\na fox")), Ok("a fox".to_owned()));
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        for content in [json!(""), json!(" \n"), json!(null), json!("<think>Hm, what"), json!("<think>Hm</think>")] {
            assert!(said(&content).is_err_and(|why| why.contains("empty")), "{content}");
        }
        assert!(said(&json!("x".repeat(LONGEST + 1))).is_err_and(|why| why.contains("at most 32768")));
        for body in ["", "{", "[]", "{}", r#"{"choices":[{"text":"a"}]}"#, r#"{"choices":[{"message":{"content":7}}]}"#]
        {
            assert!(text(body.as_bytes()).is_err_and(|why| why.contains("not a chat completion")), "{body}");
        }
        assert!(text(br#"{"choices":[]}"#).is_err_and(|why| why.contains("empty")));
    }
}
