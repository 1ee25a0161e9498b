//! What endpoints answer.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

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

/// The files of ours anywhere in a stored output: where a file says its `url`, and nowhere else. A prompt is repeated in
/// the output as it came, and whoever writes the name of a file into one must not be given that file. What repeats an
/// input in other fields, as errors do, is no output.
pub fn own_files(output: &mut Value) -> Vec<OwnFile<'_>> {
    let (mut found, mut places) = (Vec::new(), vec![(false, output)]);
    while let Some((is_url, place)) = places.pop() {
        match place {
            Value::String(text) if is_url => found.extend(OwnFile::at(text)),
            Value::Array(items) => places.extend(items.iter_mut().map(|item| (false, item))),
            Value::Object(fields) => places.extend(fields.iter_mut().map(|(name, value)| (name == "url", value))),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
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

/// What an endpoint's output has beside its pictures, and how it describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputShape {
    /// The objects in `images`.
    pub file: FileShape,
    /// Whether it has `timings`: seconds by stage.
    pub timings: bool,
    /// Whether it has `seed`.
    pub seed: bool,
    /// Whether it has `has_nsfw_concepts`: one flag per picture.
    pub flags: bool,
    /// Whether it has `prompt`.
    pub prompt: bool,
}

/// What `has_nsfw_concepts` says here, wherever it is described.
pub const FLAGS_HELP: &str = "One flag per picture: true where a checker has found what not everybody should see. Where the \
                              owner of this server has set no checker, or enable_safety_checker is off, false says that \
                              nothing was checked, not that nothing was found. What a maker refuses to show is an \
                              error, and flags that fal sends are passed on.";

/// fal's objects for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileShape {
    /// `Image`: `url`, `width`, `height`, `content_type`.
    Image,
    /// `Image` as AuraFlow has it: everything that is known of a file, and its sides.
    LongImage,
    /// `File`: `url`, `content_type`, `file_name`, `file_size`. Its `file_data` is published by some endpoints and never
    /// sent.
    File {
        /// Whether the published type names `file_data`.
        with_data: bool,
    },
}

impl OutputShape {
    /// What FLUX and most others answer.
    pub const FULL: Self = Self { file: FileShape::Image, timings: true, seed: true, flags: true, prompt: true };
}

/// A picture (fal's short `Image`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// A picture that was made and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadePicture {
    /// Where it is.
    pub url: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// MIME type.
    pub content_type: String,
    /// Its name for people.
    pub file_name: String,
    /// Bytes.
    pub file_size: u64,
}

/// Everything that an output may tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The pictures.
    pub images: Vec<MadePicture>,
    /// Seconds by stage: `load`, `text_encode`, `denoise`, `decode`, and `check` where a checker has looked.
    pub timings: BTreeMap<String, f64>,
    /// The seed that was used.
    pub seed: u64,
    /// The prompt that was used.
    pub prompt: String,
    /// What a checker has said of each picture, where one has looked at them.
    pub flags: Option<Vec<bool>>,
}

impl Output {
    /// In the documented form of an endpoint, with the documented keys and no others.
    pub fn shaped(&self, shape: OutputShape) -> Value {
        let mut output = Map::new();
        output.insert("images".into(), self.images.iter().map(|picture| picture.shaped(shape.file)).collect());
        if shape.timings {
            output.insert("timings".into(), json!(self.timings));
        }
        if shape.seed {
            output.insert("seed".into(), self.seed.into());
        }
        if shape.flags {
            let unchecked = || vec![false; self.images.len()];
            output.insert("has_nsfw_concepts".into(), json!(self.flags.clone().unwrap_or_else(unchecked)));
        }
        if shape.prompt {
            output.insert("prompt".into(), self.prompt.as_str().into());
        }
        Value::Object(output)
    }
}

impl MadePicture {
    fn shaped(&self, shape: FileShape) -> Value {
        let Self { url, width, height, content_type, file_name, file_size } = self;
        match shape {
            FileShape::Image => json!({ "url": url, "width": width, "height": height, "content_type": content_type }),
            FileShape::LongImage => json!({
                "url": url, "content_type": content_type, "file_name": file_name, "file_size": file_size,
                "width": width, "height": height,
            }),
            FileShape::File { .. } => json!({
                "url": url, "content_type": content_type, "file_name": file_name, "file_size": file_size,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_files_are_found_where_files_are_and_nowhere_else() {
        let mut output = json!({ "images": [{ "url": "scumble-file:b/1/a.png" }, { "url": "https://a/b" }],
                                 "mask": { "url": "scumble-inline:b/2/b.png" }, "seed": 1,
                               "prompt": "scumble-inline:b/3/secret.png", "words": ["scumble-file:b/4/c.png"] });
        for file in own_files(&mut output) {
            *file.place = format!("{:?} {}", file.delivered, file.path);
        }
        let expected = json!({ "images": [{ "url": "AsUrl b/1/a.png" }, { "url": "https://a/b" }],
                               "mask": { "url": "Inline b/2/b.png" }, "seed": 1,
                               "prompt": "scumble-inline:b/3/secret.png", "words": ["scumble-file:b/4/c.png"] });
        assert_eq!(output, expected);
    }
}
