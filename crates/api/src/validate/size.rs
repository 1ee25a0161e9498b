//! Sizes: a preset's name, or an object.

use serde_json::{Map, Value, json};

use super::path::Path;
use super::scalar;
use crate::error::Problem;
use crate::image_size::{DEFAULT_SIDE, ImageSize, PRESETS, SIDE_MAX, SizeLimits};

/// The size in pixels that the model draws; a preset that it can draw keeps its name. What is too large for the model but
/// not for fal's pages is [fitted](ImageSize::fit).
pub(super) fn image_size(path: &Path<'_>, value: &Value, limits: SizeLimits) -> Result<Value, Vec<Problem>> {
    let one = |problem: Problem| vec![problem.given(value)];
    let (size, checked) = match value {
        Value::String(preset) => match ImageSize::preset(preset) {
            Some(size) => (size, value.clone()),
            None => {
                let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
                let refused = scalar::choice(path, value, &names).map_err(|mut problem| {
                    problem.msg += r#", or an object such as {"width": 1024, "height": 768}"#;
                    one(problem)
                });
                return Err(refused.err().unwrap_or_default());
            }
        },
        Value::Object(object) => {
            let size = sides(path, object, limits.min)?;
            (size, pixels(size))
        }
        _ => {
            let msg = r#"Input should be a preset's name, or an object such as {"width": 1024, "height": 768}"#;
            return Err(one(path.problem("image_size_type", msg)));
        }
    };
    match size.fit(limits) {
        Some(fitted) if fitted == size => Ok(checked),
        Some(fitted) => Ok(pixels(fitted)),
        None => {
            let SizeLimits { min, max, .. } = limits;
            let msg = format!(
                "Image is too narrow for this model: scaled to its limits, {}x{} has a side under {min} pixels; at most \
                 {max}x{min} or {min}x{max}, or a ratio between these",
                size.width, size.height
            );
            let problem = path.problem("image_too_small", msg);
            Err(one(problem.with("min_width", min).with("min_height", min)))
        }
    }
}

/// What was asked for and what is drawn instead, where that is not the same.
pub(super) fn scaled(given: Option<&Value>, checked: Option<&Value>) -> Option<(ImageSize, ImageSize)> {
    let size = |value: &Value| match value {
        Value::String(preset) => ImageSize::preset(preset),
        Value::Object(object) => sides(&Path::root(), object, 0).ok(),
        _ => None,
    };
    let (asked, drawn) = (size(given?)?, size(checked?)?);
    (asked != drawn).then_some((asked, drawn))
}

fn pixels(size: ImageSize) -> Value {
    json!({ "width": size.width, "height": size.height })
}

fn sides(path: &Path<'_>, object: &Map<String, Value>, min: u32) -> Result<ImageSize, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut side = |key: &str| match object.get(key).filter(|v| !v.is_null()) {
        None => DEFAULT_SIDE,
        Some(value) => match scalar::integer(&path.field(key), value, min.into(), SIDE_MAX.into()) {
            Ok(n) => n.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(DEFAULT_SIDE),
            Err(problem) => {
                problems.push(problem.given(value));
                DEFAULT_SIDE
            }
        },
    };
    let size = ImageSize { width: side("width"), height: side("height") };
    if problems.is_empty() { Ok(size) } else { Err(problems) }
}
