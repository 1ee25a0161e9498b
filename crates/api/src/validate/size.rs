//! Sizes: a preset's name, or an object.

use serde_json::{Map, Value, json};

use super::path::Path;
use super::scalar;
use crate::error::Problem;
use crate::image_size::{DEFAULT_SIDE, ImageSize, PRESETS};

/// Sides and area in pixels.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) area: u64,
}

pub(super) fn image_size(path: &Path<'_>, value: &Value, limits: Limits) -> Result<Value, Vec<Problem>> {
    let Limits { min, max, area } = limits;
    let one = |problem: Problem| vec![problem.given(value)];
    let (size, checked) = match value {
        Value::String(preset) => match ImageSize::preset(preset) {
            Some(size) => (size, value.clone()),
            None => {
                let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
                return Err(scalar::choice(path, value, &names).map_err(one).err().unwrap_or_default());
            }
        },
        Value::Object(object) => {
            let size = sides(path, object, min, max)?;
            (size, json!({ "width": size.width, "height": size.height }))
        }
        _ => {
            let msg = "Input should be a preset name or an object with width and height";
            return Err(one(path.problem("image_size_type", msg)));
        }
    };
    if size.area() > area || size.width > max || size.height > max {
        let side = max.min(area.isqrt() as u32);
        let msg = format!(
            "Image is too large for this model: {}x{} pixels; at most {area} pixels in all, such as {side}x{side}",
            size.width, size.height
        );
        let problem = path.problem("image_too_large", msg);
        return Err(one(problem.with("max_width", side).with("max_height", side)));
    }
    Ok(checked)
}

fn sides(path: &Path<'_>, object: &Map<String, Value>, min: u32, max: u32) -> Result<ImageSize, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut side = |key: &str| match object.get(key).filter(|v| !v.is_null()) {
        None => DEFAULT_SIDE,
        Some(value) => match scalar::integer(&path.field(key), value, min.into(), max.into()) {
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
