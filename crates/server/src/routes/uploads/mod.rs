//! Uploads, in the two forms that fal's clients know.
//!
//! JavaScript asks for a URL (`initiate`) and sends the bytes there (`put`), whole or in parts; the URL says by itself
//! who sends them. Python asks for a token (`token`) and sends the bytes with it (`direct`), or begins and sends parts.

mod direct;
mod initiate;
mod parts;
mod put;
mod token;

use axum::body::Body;
use scumble_api::{CompleteUpload, ErrorAnswer};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(super) use self::direct::direct;
pub(super) use self::initiate::{initiate, initiate_parts};
pub(super) use self::parts::{begin_parts, complete_parts, put_part};
pub(super) use self::put::{complete, put};
pub(super) use self::token::token;

use crate::answer::Refusal;

/// Largest list of parts, in bytes: ten thousand lines of a hundred, and room.
pub(crate) const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// fal's names for places that keep files. Here there is one, whatever it is called.
const STORAGE_TYPES: [&str; 3] = ["fal-cdn-v3", "fal-cdn", "gcs"];

/// `?storage_type=…`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct StorageQuery {
    storage_type: Option<String>,
}

impl StorageQuery {
    fn check(&self) -> Result<(), Refusal> {
        match self.storage_type.as_deref() {
            Some(other) if !STORAGE_TYPES.contains(&other) => {
                let known = STORAGE_TYPES.join(", ");
                Err(Refusal::plain(422, &format!("storage_type must be one of {known}, or left out")))
            }
            _ => Ok(()),
        }
    }
}

/// A small JSON body; none means that nothing is wished for.
pub(crate) fn read_json<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    read_object(body)
}

/// A JSON object, and not the array that would do for one.
pub(crate) fn read_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let read = serde_json::from_slice::<Map<String, Value>>(body);
    let read = read.and_then(|fields| serde_json::from_value(Value::Object(fields)));
    read.map_err(|e| ErrorAnswer::bad_json(&e.to_string()).into())
}

/// [`read_json`] of a body that was not read yet.
pub(super) async fn read_small<T: DeserializeOwned + Default>(body: Body) -> Result<T, Refusal> {
    const BYTES_MAX: usize = 64 * 1024;
    let too_long = |_| Refusal::plain(413, "The request body is too large for this call");
    read_json(&axum::body::to_bytes(body, BYTES_MAX).await.map_err(too_long)?)
}

/// The list that completes a file. It may be longer than the body of a call may be.
async fn read_list(body: Body) -> Result<CompleteUpload, Refusal> {
    let too_long = |_| Refusal::plain(413, "The list of parts is too long or was cut short");
    let bytes = axum::body::to_bytes(body, LIST_BYTES_MAX).await.map_err(too_long)?;
    read_object(&bytes)
}
