//! What upload calls take and answer.

use serde::{Deserialize, Serialize};

/// The body of an initiate call. A file need not have a name or a type.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct InitiateUpload {
    /// What its owner calls it.
    #[serde(default)]
    pub file_name: Option<String>,
    /// Its content type.
    #[serde(default)]
    pub content_type: Option<String>,
}

/// The answer: where the bytes go, and where they will be.
#[derive(Clone, Debug, Serialize)]
pub struct InitiatedUpload {
    /// Takes the bytes; says by itself who sends them.
    pub upload_url: String,
    /// Gives them back.
    pub file_url: String,
}

/// The body of a call for a CDN token.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CdnTokenRequest {
    /// How long it should open.
    #[serde(default)]
    pub expiration_seconds: Option<u64>,
}

/// What uploads and reads files for a while.
#[derive(Clone, Debug, Serialize)]
pub struct CdnToken {
    /// Opaque.
    pub token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Where it is used.
    pub base_url: String,
    /// Until when: ISO 8601 with a numeric offset, because older Pythons cannot read a `Z`.
    pub expires_at: String,
}

/// The answer to a direct or a completed upload.
#[derive(Clone, Debug, Serialize)]
pub struct Uploaded {
    /// Where the file is.
    pub access_url: String,
}

/// The answer to the beginning of an upload in parts.
#[derive(Clone, Debug, Serialize)]
pub struct MultipartUpload {
    /// Where the file will be, and its parts are sent.
    pub access_url: String,
    /// Opaque; part of those addresses.
    #[serde(rename = "uploadId")]
    pub upload_id: String,
}

/// A part that arrived: the answer to it, and a line in the list that completes the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPart {
    /// Its place in the file, from 1.
    #[serde(rename = "partNumber")]
    pub part_number: u32,
    /// Which part of that number.
    pub etag: String,
}

/// What completes a file.
#[derive(Clone, Debug, Deserialize)]
pub struct CompleteUpload {
    /// Its parts, in any order.
    pub parts: Vec<UploadPart>,
}

/// The body of a call that signs a file's URL.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SignRequest {
    /// How long it should open, in seconds.
    #[serde(default)]
    pub duration: Option<u64>,
    /// What it should open; `read` is all there is.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
}
