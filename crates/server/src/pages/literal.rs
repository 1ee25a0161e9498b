//! An input as it is written in a program. `web/modules/literal.js` does the same while a form is filled in.

use serde_json::Value;

/// A language that snippets are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    JavaScript,
    Python,
    Curl,
    Rust,
}

impl Language {
    pub(super) const ALL: [Self; 4] = [Self::JavaScript, Self::Python, Self::Curl, Self::Rust];

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::Curl => "curl",
            Self::Rust => "Rust",
        }
    }

    /// For scripts and styles.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::Curl => "curl",
            Self::Rust => "rust",
        }
    }

    const fn step(self) -> usize {
        match self {
            Self::JavaScript | Self::Curl => 2,
            Self::Python | Self::Rust => 4,
        }
    }

    /// A value as this language writes it; the lines after the first begin with `indent` spaces.
    pub(super) fn literal(self, value: &Value, indent: usize) -> String {
        let text = self.nested(value, indent);
        match self {
            // inside single quotes, where only the quote itself means something
            Self::Curl => format!("'{}'", text.replace('\'', r"'\''")),
            _ => text,
        }
    }

    fn nested(self, value: &Value, indent: usize) -> String {
        let inner = indent + self.step();
        let block = |open: char, lines: Vec<String>, close: char| match lines.is_empty() {
            true => format!("{open}{close}"),
            false => {
                let comma = if self == Self::Curl || self == Self::Rust { "" } else { "," };
                let lines = lines.join(&format!(",\n{:inner$}", ""));
                format!("{open}\n{:inner$}{lines}{comma}\n{:indent$}{close}", "", "")
            }
        };
        match value {
            Value::Object(fields) => {
                let line = |(name, value): (&String, &Value)| {
                    let name = match self {
                        Self::JavaScript if is_name(name) => name.clone(),
                        _ => Value::from(name.as_str()).to_string(),
                    };
                    format!("{name}: {}", self.nested(value, inner))
                };
                block('{', fields.iter().map(line).collect(), '}')
            }
            Value::Array(items) => block('[', items.iter().map(|item| self.nested(item, inner)).collect(), ']'),
            Value::Bool(yes) if self == Self::Python => if *yes { "True" } else { "False" }.to_owned(),
            Value::Null if self == Self::Python => "None".to_owned(),
            other => other.to_string(),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && text.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_language_has_its_own_words() {
        let input = json!({ "prompt": "it's \"so\"", "list": [1, true], "empty": {}, "none": null });
        let literal = |language: Language| language.literal(&input, 2);
        assert_eq!(
            literal(Language::JavaScript),
            "{\n    prompt: \"it's \\\"so\\\"\",\n    list: [\n      1,\n      true,\n    ],\n    empty: {},\n    none: null,\n  }"
        );
        assert!(literal(Language::Python).contains("True,\n") && literal(Language::Python).contains("None,\n"));
        let curl = literal(Language::Curl);
        assert!(curl.starts_with('\'') && curl.contains(r"it'\''s"), "{curl}");
        let json: Value = serde_json::from_str(&literal(Language::Rust)).expect("JSON");
        assert_eq!(json, input);
    }
}
