//! What a caller sent: words and pictures, as a form or as JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use scumble_api::{OpenAiError, OpenAiTask, Unread, read_value};
use scumble_fetch::Source;
use serde_json::{Map, Value};

use super::form;
use super::refused::Refused;
use crate::sent::unread;
use crate::state::AppState;

/// Most pictures of a call, as OpenAI limits them.
const PICTURES_MAX: usize = 16;

/// A call as it was sent.
#[derive(Default)]
pub(super) struct Said {
    pub(super) fields: Map<String, Value>,
    pub(super) pictures: Vec<Picture>,
    pub(super) mask: Option<Picture>,
}

/// A picture that a caller gave.
pub(super) enum Picture {
    /// Its bytes, which begin like those of a picture.
    Here { bytes: Bytes, content_type: &'static str },
    /// Its address.
    At(String),
}

impl Said {
    /// Reads the body.
    pub(super) async fn read(task: OpenAiTask, request: Request, state: &AppState) -> Result<Self, Refused> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|text| text.trim_start().starts_with("multipart/form-data"));
        if is_form && task != OpenAiTask::Generate {
            return form::read(request, state).await;
        }
        let body = Bytes::from_request(request, state).await.map_err(|why| unread(&why))?;
        let body = read_value(&body).map_err(|unread| not_json(task, &unread))?;
        let Value::Object(fields) = body else {
            return Err(OpenAiError::invalid(None, "The body must be an object of JSON").into());
        };
        let mut said = Self { fields, ..Self::default() };
        if task != OpenAiTask::Generate {
            said.take_pictures(state.config.body_bytes as u64)?;
        }
        Ok(said)
    }

    /// Another picture, by the name of its field.
    pub(super) fn add(&mut self, picture: Picture) -> Result<(), OpenAiError> {
        if self.pictures.len() == PICTURES_MAX {
            let message = format!("There are more than {PICTURES_MAX} pictures, which is the most");
            return Err(OpenAiError::invalid(Some("image"), message));
        }
        self.pictures.push(picture);
        Ok(())
    }

    /// Pictures in JSON: `image` or `images`, one or several, each an address, a data URI, or an object that has one.
    fn take_pictures(&mut self, max_bytes: u64) -> Result<(), OpenAiError> {
        for name in ["image", "images"] {
            let given = match self.fields.remove(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(several)) => several,
                Some(one) => vec![one],
            };
            for value in given {
                self.add(picture("image", value, max_bytes)?)?;
            }
        }
        if let Some(value) = self.fields.remove("mask").filter(|value| !value.is_null()) {
            self.mask = Some(picture("mask", value, max_bytes)?);
        }
        Ok(())
    }
}

impl Picture {
    /// Bytes that begin like a picture's.
    pub(super) fn here(param: &str, bytes: Bytes) -> Result<Self, OpenAiError> {
        match content_type(&bytes) {
            Some(content_type) => Ok(Self::Here { bytes, content_type }),
            None => {
                let what = if bytes.is_empty() { "is empty" } else { "is not a picture that can be read here" };
                let message = format!("{param} {what}; send a PNG, JPEG, WebP or GIF file");
                Err(OpenAiError::invalid(Some(param), message))
            }
        }
    }
}

fn picture(param: &str, value: Value, max_bytes: u64) -> Result<Picture, OpenAiError> {
    let text = match value {
        Value::String(text) => text,
        Value::Object(mut object) => match object.remove("image_url") {
            Some(Value::String(text)) => text,
            _ => {
                let message =
                    format!("{param} must have an image_url: an address or a data URI; file ids are unknown here");
                return Err(OpenAiError::invalid(Some(param), message));
            }
        },
        _ => return Err(OpenAiError::invalid(Some(param), format!("{param} must be an address or a data URI"))),
    };
    let wrong = |error: scumble_fetch::Error| OpenAiError::invalid(Some(param), format!("{param}: {error}"));
    match Source::parse(&text).map_err(wrong)? {
        Source::Data(data) => Picture::here(param, data.decode(max_bytes).map_err(wrong)?),
        Source::Url(url) => Ok(Picture::At(url.to_owned())),
    }
}

/// By the first bytes.
fn content_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        _ => None,
    }
}

fn not_json(task: OpenAiTask, unread: &Unread) -> OpenAiError {
    let form = if task == OpenAiTask::Generate { "" } else { ", nor a form (multipart/form-data)" };
    OpenAiError::invalid(None, format!("The body is not JSON{form}: {unread}"))
}
