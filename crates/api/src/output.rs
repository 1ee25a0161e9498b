//! What endpoints answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// In a stored output, stands before the path of a file of ours; the server puts a URL in its place that the caller
/// can reach, whatever address the caller used.
pub const FILE_SCHEME: &str = "scumble-file:";
/// As [`FILE_SCHEME`], but the caller asked for the bytes themselves: a data URI takes its place.
pub const INLINE_SCHEME: &str = "scumble-inline:";

/// A file of ours in a stored output.
#[derive(Debug)]
pub struct OwnFile<'a> {
    /// The string that stands for it; to be replaced before anybody sees it.
    pub place: &'a mut String,
    /// The path of the file.
    pub path: String,
    /// What has to take its place.
    pub delivered: Delivered,
}

/// How a caller gets a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// As a URL ([`FILE_SCHEME`]).
    AsUrl,
    /// As a data URI ([`INLINE_SCHEME`]).
    Inline,
}

/// The files of ours anywhere in a stored output.
pub fn own_files(output: &mut Value) -> Vec<OwnFile<'_>> {
    let (mut found, mut places) = (Vec::new(), vec![output]);
    while let Some(place) = places.pop() {
        match place {
            Value::String(text) => found.extend(OwnFile::at(text)),
            Value::Array(items) => places.extend(items.iter_mut()),
            Value::Object(fields) => places.extend(fields.iter_mut().map(|(_, value)| value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

impl<'a> OwnFile<'a> {
    fn at(place: &'a mut String) -> Option<Self> {
        let (path, delivered) = match place.strip_prefix(FILE_SCHEME) {
            Some(path) => (path.to_owned(), Delivered::AsUrl),
            None => (place.strip_prefix(INLINE_SCHEME)?.to_owned(), Delivered::Inline),
        };
        Some(Self { place, path, delivered })
    }
}

/// A picture (fal's short `Image`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where it is.
    pub url: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// MIME type.
    pub content_type: String,
}

/// The output of FLUX endpoints and the starter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagesOutput {
    /// The pictures.
    pub images: Vec<Image>,
    /// Seconds by stage: `load`, `text_encode`, `denoise`, `decode`.
    pub timings: BTreeMap<String, f64>,
    /// The seed that was used.
    pub seed: u64,
    /// One flag per picture.
    pub has_nsfw_concepts: Vec<bool>,
    /// The prompt that was used.
    pub prompt: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn our_files_are_found_wherever_they_are() {
        let mut output = json!({ "images": [{ "url": "scumble-file:b/1/a.png" }, { "url": "https://a/b" }],
                                 "mask": "scumble-inline:b/2/b.png", "prompt": "a scumble-file: in a text", "seed": 1 });
        for file in own_files(&mut output) {
            *file.place = format!("{:?} {}", file.delivered, file.path);
        }
        let expected = json!({ "images": [{ "url": "AsUrl b/1/a.png" }, { "url": "https://a/b" }],
                               "mask": "Inline b/2/b.png", "prompt": "a scumble-file: in a text", "seed": 1 });
        assert_eq!(output, expected);
    }
}
