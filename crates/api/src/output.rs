//! What endpoints answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// In a stored output, stands before the path of a file of ours; the server puts a URL in its place that the caller
/// can reach, whatever address the caller used.
pub const FILE_SCHEME: &str = "scumble-file:";
/// As [`FILE_SCHEME`], but the caller asked for the bytes themselves: a data URI takes its place.
pub const INLINE_SCHEME: &str = "scumble-inline:";

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
