//! What is sent along: JSON, or a form with files.

use std::fmt::Write;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The body of a question.
pub(crate) enum Body {
    Empty,
    Json(Value),
    Form(Form),
    /// `a=b&c=d`, already escaped.
    Urlencoded(String),
}

/// A form as browsers send files (RFC 7578).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Form {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    name: &'static str,
    file: Option<String>,
    kind: Option<&'static str>,
    bytes: Bytes,
}

impl Body {
    /// Content type and bytes.
    pub(crate) fn bytes(&self) -> (Option<String>, Bytes) {
        match self {
            Self::Empty => (None, Bytes::new()),
            Self::Json(value) => (Some("application/json".to_owned()), value.to_string().into()),
            Self::Urlencoded(text) => {
                (Some("application/x-www-form-urlencoded".to_owned()), Bytes::from(text.clone().into_bytes()))
            }
            Self::Form(form) => {
                let boundary = form.boundary();
                (Some(format!("multipart/form-data; boundary={boundary}")), form.encode(&boundary))
            }
        }
    }

    /// What says the same in every run: with `seed` or without it.
    pub(crate) fn digest(&self, seed: bool) -> String {
        let mut hash = Sha256::new();
        match self {
            Self::Empty => {}
            Self::Json(value) if seed => hash.update(value.to_string()),
            Self::Json(value) => hash.update(seedless(value.clone()).to_string()),
            Self::Urlencoded(text) => hash.update(text),
            Self::Form(form) => form.feed(&mut hash, |part| seed || part.name != "seed"),
        }
        hex(&hash.finalize())
    }

    /// For people who read a record: files and other long things by their digest.
    pub(crate) fn shown(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Json(value) => shortened(value.clone()),
            Self::Urlencoded(text) => text.as_str().into(),
            Self::Form(form) => {
                let part =
                    |part: &Part| serde_json::json!({ "name": part.name, "file": part.file, "value": part.shown() });
                form.parts.iter().map(part).collect()
            }
        }
    }
}

impl Form {
    /// A field of text.
    pub(crate) fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.parts.push(Part { name, file: None, kind: None, bytes: value.into().into() });
    }

    /// A field of JSON.
    pub(crate) fn json(&mut self, name: &'static str, value: &Value) {
        let kind = Some("application/json");
        self.parts.push(Part { name, file: None, kind, bytes: value.to_string().into() });
    }

    /// A file.
    pub(crate) fn file(&mut self, name: &'static str, file: &str, kind: &'static str, bytes: Bytes) {
        self.parts.push(Part { name, file: Some(file.to_owned()), kind: Some(kind), bytes });
    }

    /// A line that stands in none of the parts, for all that anybody can find: it depends on every byte of them.
    fn boundary(&self) -> String {
        let mut hash = Sha256::new();
        self.feed(&mut hash, |_| true);
        format!("scumble-{}", &hex(&hash.finalize())[..48])
    }

    fn feed(&self, hash: &mut Sha256, wanted: impl Fn(&Part) -> bool) {
        for part in self.parts.iter().filter(|part| wanted(part)) {
            for piece in [part.name.as_bytes(), part.file.as_deref().unwrap_or_default().as_bytes(), &part.bytes] {
                hash.update((piece.len() as u64).to_le_bytes());
                hash.update(piece);
            }
        }
    }

    fn encode(&self, boundary: &str) -> Bytes {
        let mut bytes = Vec::new();
        for part in &self.parts {
            let mut head = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"", part.name);
            if let Some(file) = &part.file {
                let _ = write!(head, "; filename=\"{file}\"");
            }
            if let Some(kind) = part.kind {
                let _ = write!(head, "\r\ncontent-type: {kind}");
            }
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(b"\r\n\r\n");
            bytes.extend_from_slice(&part.bytes);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        bytes.into()
    }
}

impl Part {
    fn shown(&self) -> Value {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if self.file.is_none() => shortened(text.into()),
            _ => digest_of(&self.bytes).into(),
        }
    }
}

fn seedless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !matches!(name.as_str(), "seed" | "random_seed"));
            fields.values_mut().for_each(|value| *value = seedless(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| *value = seedless(value.take())),
        _ => {}
    }
    value
}

fn shortened(mut value: Value) -> Value {
    const LONG: usize = 4000;
    match &mut value {
        Value::String(text) if text.len() > LONG => *text = digest_of(text.as_bytes()),
        Value::Object(fields) => fields.values_mut().for_each(|value| *value = shortened(value.take())),
        Value::Array(items) => items.iter_mut().for_each(|value| *value = shortened(value.take())),
        _ => {}
    }
    value
}

fn digest_of(bytes: &[u8]) -> String {
    format!("{} bytes, sha256 {}", bytes.len(), hex(&Sha256::digest(bytes)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_form_is_written_as_browsers_write_it() {
        let mut form = Form::default();
        form.text("prompt", "a \"fox\"\r\n--x");
        form.json("color_palette", &json!({ "name": "EMBER" }));
        form.file("image", "image.png", "image/png", Bytes::from_static(b"\x89PNG"));
        let (kind, bytes) = Body::Form(form.clone()).bytes();
        let boundary =
            kind.as_deref().and_then(|kind| kind.strip_prefix("multipart/form-data; boundary=")).expect("one");
        assert!(boundary.len() <= 70, "RFC 2046 allows 70 characters, and this is {boundary}");
        let expected = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\na \"fox\"\r\n--x\r\n--{boundary}\r\n\
             content-disposition: form-data; name=\"color_palette\"\r\ncontent-type: application/json\r\n\r\n\
             {{\"name\":\"EMBER\"}}\r\n--{boundary}\r\ncontent-disposition: form-data; name=\"image\"; \
             filename=\"image.png\"\r\ncontent-type: image/png\r\n\r\n"
        );
        assert_eq!(bytes, [expected.as_bytes(), b"\x89PNG\r\n--", boundary.as_bytes(), b"--\r\n"].concat());
        let mut seeded = form.clone();
        seeded.text("seed", "7");
        let (form, seeded) = (Body::Form(form), Body::Form(seeded));
        assert_eq!(form.digest(false), seeded.digest(false));
        assert_ne!(form.digest(true), seeded.digest(true));
    }

    #[test]
    fn a_seed_may_be_looked_past() {
        let body = |seed: u64| Body::Json(json!({ "a": [{ "seed": seed }], "random_seed": seed, "b": 1 }));
        assert_eq!(body(1).digest(false), body(2).digest(false));
        assert_ne!(body(1).digest(true), body(2).digest(true));
    }
}
