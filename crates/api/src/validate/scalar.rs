//! Single values: text, numbers, words.

use serde_json::Value;

use super::path::Path;
use crate::error::Problem;

/// The longest text that is read, in bytes: several times what any model's encoder takes.
pub(crate) const TEXT_MAX: usize = 32 * 1024;

/// The longest URL; files that come as data URIs are measured by the limits of files.
const URL_MAX: usize = 8 * 1024;

pub(super) fn text(path: &Path<'_>, value: &Value) -> Result<Value, Problem> {
    limited(path, value, TEXT_MAX, "32768 bytes (32 KiB)")
}

/// A file: its URL, or itself as a data URI.
pub(super) fn file(path: &Path<'_>, value: &Value) -> Result<Value, Problem> {
    const DATA: &str = "data:";
    let is_data = |text: &str| text.trim_start().get(..DATA.len()).is_some_and(|s| s.eq_ignore_ascii_case(DATA));
    match value {
        Value::String(text) if is_data(text) => Ok(value.clone()),
        _ => limited(path, value, URL_MAX, "8192 bytes (8 KiB), unless it is a data URI"),
    }
}

fn limited(path: &Path<'_>, value: &Value, max: usize, said: &str) -> Result<Value, Problem> {
    match value {
        Value::String(text) if text.len() > max => {
            let msg = format!("Input is too long: it has {} bytes; at most {said} are read", text.len());
            Err(path.problem("sequence_too_long", msg).with("max_length", max))
        }
        Value::String(_) => Ok(value.clone()),
        _ => Err(path.problem("string_type", "Input should be a valid string")),
    }
}

pub(super) fn hex(path: &Path<'_>, value: &Value, digits: usize) -> Result<Value, Problem> {
    let text = text(path, value)?;
    let matches = text.as_str().is_some_and(|s| s.len() == digits && s.bytes().all(|b| b.is_ascii_hexdigit()));
    if matches {
        return Ok(text);
    }
    let pattern = format!("^[0-9A-Fa-f]{{{digits}}}$");
    let msg = format!("String should match pattern '{pattern}'");
    Err(path.problem("string_pattern_mismatch", msg).with("pattern", pattern))
}

pub(super) fn boolean(path: &Path<'_>, value: &Value) -> Result<Value, Problem> {
    let parsed = match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) if n.as_f64() == Some(0.0) => Some(false),
        Value::Number(n) if n.as_f64() == Some(1.0) => Some(true),
        Value::String(s) => match s.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    parsed.map(Value::from).ok_or_else(|| match value {
        Value::String(_) | Value::Number(_) => {
            path.problem("bool_parsing", "Input should be a valid boolean, unable to interpret input")
        }
        _ => path.problem("bool_type", "Input should be a valid boolean"),
    })
}

pub(super) fn integer(path: &Path<'_>, value: &Value, min: i128, max: i128) -> Result<Value, Problem> {
    let n = whole(path, value)?;
    if n < min {
        let limit = number_of(min);
        let msg = format!("Input should be greater than or equal to {limit}");
        return Err(path.problem("greater_than_equal", msg).with("ge", limit));
    }
    if n > max {
        let limit = number_of(max);
        let msg = format!("Input should be less than or equal to {limit}");
        return Err(path.problem("less_than_equal", msg).with("le", limit));
    }
    Ok(number_of(n))
}

/// Whole numbers, whole floats and their texts, as pydantic reads them.
fn whole(path: &Path<'_>, value: &Value) -> Result<i128, Problem> {
    match value {
        Value::Number(n) => {
            if let Some(n) = n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from)) {
                return Ok(n);
            }
            let float = n.as_f64().unwrap_or(f64::NAN);
            if float.fract() == 0.0 && float.abs() < 1e18 {
                return Ok(float as i128);
            }
            let msg = "Input should be a valid integer, got a number with a fractional part";
            Err(path.problem("int_from_float", msg))
        }
        Value::String(s) => s.trim().parse().map_err(|_| {
            let msg = "Input should be a valid integer, unable to parse string as an integer";
            path.problem("int_parsing", msg)
        }),
        _ => Err(path.problem("int_type", "Input should be a valid integer")),
    }
}

/// A JSON number for anything between the least i64 and the greatest u64; validated values never lie outside.
pub(super) fn number_of(n: i128) -> Value {
    i64::try_from(n).map(Value::from).or_else(|_| u64::try_from(n).map(Value::from)).unwrap_or(Value::Null)
}

pub(super) fn number(path: &Path<'_>, value: &Value, min: f64, max: f64) -> Result<Value, Problem> {
    let parsed = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse::<f64>().ok(),
        _ => return Err(path.problem("float_type", "Input should be a valid number")),
    };
    let n = parsed.filter(|n| n.is_finite()).ok_or_else(|| {
        path.problem("float_parsing", "Input should be a valid number, unable to parse string as a number")
    })?;
    if n < min {
        let msg = format!("Input should be greater than or equal to {min}");
        return Err(path.problem("greater_than_equal", msg).with("ge", min));
    }
    if n > max {
        let msg = format!("Input should be less than or equal to {max}");
        return Err(path.problem("less_than_equal", msg).with("le", max));
    }
    Ok(n.into())
}

pub(super) fn choice(path: &Path<'_>, value: &Value, words: &[&str]) -> Result<Value, Problem> {
    if value.as_str().is_some_and(|s| words.contains(&s)) {
        return Ok(value.clone());
    }
    let expected = spoken(words);
    Err(path.problem("literal_error", format!("Input should be {expected}")).with("expected", expected))
}

/// `'a', 'b' or 'c'`.
fn spoken(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
