//! What is wrong with scumble.toml, in words for its owner: the reader's own words are those of Rust's types.

use crate::meant;

/// What the reader says, in plain words; what it says of the file's syntax stays as it is.
pub(super) fn explain(said: &str) -> String {
    if let Some((name, known)) = between(said, "unknown field `", "`").map(|(name, rest)| (name, quoted(rest))) {
        let hint = meant::did_you_mean(&meant::names(name, &known));
        let there = if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) };
        return format!("there is no {name} here{hint}{there}");
    }
    if let Some((word, known)) = between(said, "unknown variant `", "`").map(|(word, rest)| (word, quoted(rest))) {
        return format!("expected one of {}; got {word:?}", known.join(", "));
    }
    if let Some((name, _)) = between(said, "missing field `", "`") {
        return format!("{name} is missing");
    }
    let wrong =
        ["invalid type: ", "invalid value: ", "invalid length "].iter().find_map(|begin| said.strip_prefix(begin));
    match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((got, wanted)) => format!("expected {}; got {}", kind(wanted), value(got)),
        None => said.to_owned(),
    }
}

/// The setting in front of the `=` of a line, where it is one.
pub(super) fn setting(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim();
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(letter)).then_some(name)
}

/// The text between two marks, and what follows.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(begin)?.split_once(end)
}

/// All that is between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A type in words.
fn kind(wanted: &str) -> &str {
    match wanted {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number that is not negative",
        "i64" | "i32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" | "string" => "text in quotes",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        section if section.starts_with("struct ") => "a section of settings",
        other => other,
    }
}

/// A value as it stands in the file.
fn value(got: &str) -> String {
    let plain = ["boolean `", "integer `", "floating point `"].iter().find_map(|begin| got.strip_prefix(begin));
    if let Some(number) = plain {
        return number.trim_end_matches('`').to_owned();
    }
    match got {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        text => text.strip_prefix("string ").map_or_else(|| text.to_owned(), |text| format!("the text {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_are_told_in_words() {
        for (said, plain) in [
            (
                "invalid type: string \"two\", expected usize",
                "expected a whole number that is not negative; got the text \"two\"",
            ),
            ("invalid value: integer `-1`, expected u64", "expected a whole number that is not negative; got -1"),
            (
                "invalid type: floating point `1.5`, expected usize",
                "expected a whole number that is not negative; got 1.5",
            ),
            ("invalid type: string \"yes\", expected a boolean", "expected true or false; got the text \"yes\""),
            ("invalid type: integer `5`, expected struct ServerSection", "expected a section of settings; got 5"),
            (
                "invalid type: string \"a, expected b\", expected a sequence",
                "expected a list in brackets; got the text \"a, expected b\"",
            ),
            ("missing field `key`", "key is missing"),
            (
                "unknown field `lisen`, expected one of `listen`, `hosts`",
                "there is no lisen here (did you mean listen?); there are listen, hosts",
            ),
            ("unknown field `x`, there are no fields", "there is no x here"),
            ("unknown variant `fp8`, expected `float32` or `float16`", "expected one of float32, float16; got \"fp8\""),
            ("invalid basic string", "invalid basic string"),
        ] {
            assert_eq!(explain(said), plain);
        }
    }

    #[test]
    fn a_setting_is_a_word_before_its_value() {
        assert_eq!(setting("  concurrency = \"two\""), Some("concurrency"));
        for other in ["[worker]", "", "\"a b\" = 1", "= 1", "a.b = 1"] {
            assert_eq!(setting(other), None, "{other}");
        }
    }
}
