//! Where the caller's pictures and their mask go in an endpoint's input.

use serde_json::{Map, Value};

use super::errors::OpenAiError;
use super::names::{OpenAiTask, Wanted};
use crate::endpoint::Endpoint;
use crate::field::{Field, Kind};

/// The field that takes the pictures to work on, and at most how many; pictures whose style is followed are none.
fn slot(endpoint: &Endpoint) -> Option<(&'static Field, usize)> {
    let one = endpoint.field("image_url").filter(|field| matches!(field.kind, Kind::Image)).map(|field| (field, 1));
    one.or_else(|| {
        let field = endpoint.field("input_image_urls")?;
        matches!(field.kind, Kind::List { item: Kind::Image, .. }).then(|| match field.kind {
            Kind::List { max, .. } => (field, max),
            _ => (field, 1),
        })
    })
}

fn mask(endpoint: &Endpoint) -> Option<&'static Field> {
    endpoint.fields().iter().find(|field| matches!(field.kind, Kind::Mask { .. }))
}

/// Whether an endpoint does nothing without a mask.
pub(super) fn needs_mask(endpoint: &Endpoint) -> bool {
    mask(endpoint).is_some_and(Field::is_required)
}

/// Whether an endpoint can do what is wanted.
pub(super) fn check(endpoint: &Endpoint, wanted: Wanted) -> Result<(), OpenAiError> {
    let id = endpoint.id;
    let model = |message: String| Err(OpenAiError::invalid(Some("model"), message));
    if wanted.task == OpenAiTask::Generate {
        return match endpoint.edits() {
            true => model(format!("{id} starts from a picture; send it to /v1/images/edits")),
            false => Ok(()),
        };
    }
    let Some((_, max)) = slot(endpoint) else {
        return model(format!("{id} takes no picture; GET /v1/models lists other models"));
    };
    if wanted.pictures > max {
        let message = format!("{id} takes {max} pictures at most, not {}", wanted.pictures);
        return Err(OpenAiError::invalid(Some("image"), message));
    }
    if wanted.mask && mask(endpoint).is_none() {
        return Err(OpenAiError::invalid(Some("mask"), format!("{id} takes no mask; leave it out")));
    }
    Ok(())
}

/// No endpoint at all can.
pub(super) fn nothing_takes(wanted: Wanted) -> OpenAiError {
    let (param, what) = match wanted {
        Wanted { pictures: 2.., mask: true, .. } => ("mask", "a mask together with several pictures"),
        Wanted { pictures, .. } => ("image", if pictures > 1 { "so many pictures" } else { "this picture" }),
    };
    OpenAiError::invalid(Some(param), format!("No model here takes {what}; send fewer"))
}

/// How much of a picture changes in a variation of it: its subject stays.
const VARIED: f64 = 0.75;

/// What a variation says where an endpoint wants words: nothing, and that the picture decides.
pub(super) fn vary(endpoint: &Endpoint, input: &mut Map<String, Value>) {
    if endpoint.field("prompt").is_some_and(Field::is_required) {
        input.entry("prompt").or_insert_with(|| "".into());
    }
    // makers mean different things by it
    if endpoint.family.maker().is_none() && endpoint.field("strength").is_some() {
        input.insert("strength".into(), VARIED.into());
    }
}

/// Puts pictures and mask, each by its URL, into an input. Where a mask is needed and none was sent, the picture itself
/// is one: it is painted anew where it is transparent.
pub(super) fn give(endpoint: &Endpoint, input: &mut Map<String, Value>, pictures: &[String], mask_url: Option<&str>) {
    match slot(endpoint) {
        Some((field, _)) if matches!(field.kind, Kind::List { .. }) => {
            input.insert(field.name.into(), pictures.into());
        }
        Some((field, _)) => input.extend(pictures.first().map(|url| (field.name.to_owned(), url.as_str().into()))),
        None => {}
    }
    if let Some(field) = mask(endpoint) {
        let itself = pictures.first().map(String::as_str).filter(|_| field.is_required());
        input.extend(mask_url.or(itself).map(|url| (field.name.to_owned(), url.into())));
    }
}
