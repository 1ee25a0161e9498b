//! What was given, shortened: answers and rows repeat an input so that somebody recognises it, not to give it back.

use serde_json::{Map, Value};

/// How much of an input an answer repeats.
pub const ECHO_BYTES: usize = 2 * 1024;

/// What stands where something was left out.
const MORE: &str = "…";

/// The value, or as much of it as takes this many bytes as JSON, with a note where the rest was.
pub fn cut(value: &Value, bytes: usize) -> Value {
    let mut left = bytes;
    shorten(value, &mut left)
}

/// The text, or as much of it as takes this many bytes.
pub fn cut_text(text: &str, bytes: usize) -> String {
    let mut left = bytes;
    shorten_text(text, &mut left)
}

fn shorten(value: &Value, left: &mut usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            spend(left, value.to_string().len());
            value.clone()
        }
        Value::String(text) => {
            // its quotes: a list of short texts has many
            spend(left, 2);
            shorten_text(text, left).into()
        }
        Value::Array(items) => {
            let mut short = Vec::new();
            for (place, item) in items.iter().enumerate() {
                if *left == 0 {
                    short.push(format!("{MORE} and {} more", items.len() - place).into());
                    break;
                }
                spend(left, 1);
                short.push(shorten(item, left));
            }
            Value::Array(short)
        }
        Value::Object(fields) => {
            let mut short = Map::new();
            for (place, (name, value)) in fields.iter().enumerate() {
                if *left <= name.len() {
                    short.insert(MORE.to_owned(), format!("and {} more", fields.len() - place).into());
                    break;
                }
                spend(left, name.len() + 4);
                short.insert(name.clone(), shorten(value, left));
            }
            Value::Object(short)
        }
    }
}

fn shorten_text(text: &str, left: &mut usize) -> String {
    let mut end = 0;
    for letter in text.chars() {
        let width = match letter {
            '"' | '\\' => 2,
            '\u{0}'..='\u{1f}' => 6,
            _ => letter.len_utf8(),
        };
        if width > *left {
            *left = 0;
            return format!("{}{MORE} ({} bytes)", &text[..end], text.len());
        }
        *left -= width;
        end += letter.len_utf8();
    }
    text.to_owned()
}

fn spend(left: &mut usize, bytes: usize) {
    *left = left.saturating_sub(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        let value =
            json!({ "prompt": "two \"stars\" \u{1} é", "loras": [{ "scale": 1.5 }, null, true], "seed": u64::MAX });
        assert_eq!(cut(&value, ECHO_BYTES), value);
        assert_eq!(cut(&json!(""), 0), json!(""));
        assert_eq!(cut_text("as it is", 8), "as it is");
    }

    #[test]
    fn what_does_not_fit_is_recognised_and_short() {
        let long = "é".repeat(1_000_000);
        let prompt = cut(&json!(long), ECHO_BYTES);
        let prompt = prompt.as_str().expect("a text");
        assert!(prompt.starts_with("éé") && prompt.ends_with("… (2000000 bytes)") && prompt.len() < ECHO_BYTES + 32);
        let many: Map<String, Value> = (0..100_000).map(|n| (format!("k{n}"), json!("\u{0}"))).collect();
        for (value, first) in [
            (json!({ "prompt": "a star", "image_url": long }), json!("a star")),
            (json!(many), json!(null)),
            (json!({ "prompt": vec!["x"; 100_000] }), json!(null)),
            (json!({ (long.clone()): 1 }), json!(null)),
        ] {
            let short = cut(&value, ECHO_BYTES);
            assert!(short.to_string().len() < 2 * ECHO_BYTES, "{}", short.to_string().len());
            assert!(short.to_string().contains(MORE));
            assert!(first.is_null() || short["prompt"] == first);
        }
    }
}
