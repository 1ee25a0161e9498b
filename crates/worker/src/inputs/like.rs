//! Pictures as large as one that was given.

use scumble_api::{Kind, Size, SizeLimits};
use serde_json::json;

use crate::runner::Request;

/// Gives a request the size of its first picture, fitted to the model. One that the model cannot draw changes nothing.
pub(crate) fn as_large_as_given(request: &mut Request) {
    let Some(Kind::ImageSize { min, max, area, step }) = request.endpoint.field("image_size").map(|field| field.kind)
    else {
        return;
    };
    let Some(given) = request.pictures.first() else { return };
    if let Some(size) = given.size.fit(SizeLimits { min, max, area, step }) {
        request.values.insert("image_size".into(), json!({ "width": size.width, "height": size.height }));
        request.input.size = Size::Pixels(size);
    }
}
