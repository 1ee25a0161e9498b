//! A request in the engine's terms, and what of it the engine cannot follow.

use scumble_api::{Family, ImageSize, Problem, Size, SizeLimits};
use scumble_engine::families::{self, Family as Engine};
use scumble_engine::{Acceleration, Call, Pixels};
use serde_json::Value;

use super::super::{Request, RunError, Watch};
use crate::inputs::{InputImage, InputPixels};

/// Fields that others see to: how pictures are stored and given back, and whether they are looked at.
const ELSEWHERE: &[&str] = &["output_format", "sync_mode", "enable_safety_checker", "safety_tolerance"];

/// What a picture as large as one that was given is held to.
const LIMITS: SizeLimits = SizeLimits { min: 16, max: 1 << 14, area: 4_194_304, step: 16 };

/// The call. What is asked and cannot be followed is an error where the picture would be another one, and a line in the
/// job's log where it only says how to get there.
pub(super) fn call(request: &Request, watch: &dyn Watch) -> Result<Call, RunError> {
    let family = request.endpoint.pipeline().and_then(families::find);
    let unfollowed = family.map_or_else(Vec::new, |family| unfollowed(request, family));
    let problems: Vec<Problem> = unfollowed.iter().filter_map(|(name, value)| refusal(name, value)).collect();
    if !problems.is_empty() {
        return Err(RunError::Invalid(problems));
    }
    for (name, value) in unfollowed {
        if let Some(line) = remark(name, value) {
            watch.log(&line);
        }
    }
    as_call(request, family)
}

/// The values that neither the engine nor anybody else sees to.
fn unfollowed<'a>(request: &'a Request, family: &Engine) -> Vec<(&'a str, &'a Value)> {
    let known = |name: &str| family.accepts.contains(&name) || ELSEWHERE.contains(&name);
    request.values.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !known(name)).collect()
}

/// Adapters and pictures make another picture.
fn refusal(name: &str, value: &Value) -> Option<Problem> {
    let asked = match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
        _ => false,
    };
    asked.then(|| {
        let message = format!("{name} cannot be followed by the model that runs here; leave it out");
        Problem::new(&[name], "value_error", message)
    })
}

fn remark(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        ("expand_prompt", Value::Bool(true)) => {
            Some("expand_prompt: no language model is here to make the prompt longer; it is used as it is".to_owned())
        }
        ("acceleration", Value::String(how)) if how == "high" => {
            Some("acceleration: this model computes every step in full, whatever is asked".to_owned())
        }
        _ => None,
    }
}

fn as_call(request: &Request, family: Option<&Engine>) -> Result<Call, RunError> {
    let input = &request.input;
    let open = |field: &str| request.endpoint.field(field).is_none();
    let steps = match family {
        Some(family) if open("num_inference_steps") => family.steps,
        _ => input.steps as usize,
    };
    let scale = input.guidance.unwrap_or_else(|| family.map_or(1.0, |family| family.guidance));
    // the starter was not distilled: its guidance is the true one, against the empty prompt
    let (guidance, true_cfg) = match request.endpoint.family {
        Family::Starter => (1.0, scale),
        _ => (scale, 1.0),
    };
    let size = size(request)?;
    Ok(Call {
        prompt: input.prompt.clone(),
        negative: input.negative_prompt.clone(),
        width: size.width as usize,
        height: size.height as usize,
        steps,
        guidance,
        true_cfg,
        seed: request.seed,
        images: input.images as usize,
        picture: picture(request, "image_url")?,
        mask: picture(request, "mask_url")?,
        strength: request.values.get("strength").and_then(Value::as_f64).unwrap_or(1.0),
        max_sequence_length: input.max_sequence_length.map(|n| n as usize),
        loras: Vec::new(),
        controlnet: None,
        ip_adapter: None,
        acceleration: acceleration(request),
    })
}

fn acceleration(request: &Request) -> Acceleration {
    match request.values.get("acceleration").and_then(Value::as_str) {
        Some("high") => Acceleration::High,
        Some("regular") => Acceleration::Regular,
        _ => Acceleration::None,
    }
}

/// The size that is asked; where it follows a picture, that one's, scaled to what a model here can draw.
fn size(request: &Request) -> Result<ImageSize, RunError> {
    let Size::Like(url) = &request.input.size else { return Ok(request.input.size.pixels(None)) };
    let followed = request.pictures.iter().find(|picture| picture.url == *url).map(|picture| picture.size);
    let Some(size) = followed else { return Ok(request.input.size.pixels(None)) };
    size.fit(LIMITS).ok_or_else(|| {
        let message = format!("The image of {} × {} pixels is too narrow to be drawn", size.width, size.height);
        RunError::Invalid(vec![Problem::new(&["image_url"], "image_too_small", message)])
    })
}

/// The picture that was given at this field, without transparency.
fn picture(request: &Request, field: &str) -> Result<Option<Pixels>, RunError> {
    let Some(given) = request.pictures.iter().find(|picture| picture.path == [field]) else { return Ok(None) };
    given.decoded().map(|image| Some(on_white(image))).map_err(|problem| RunError::Invalid(vec![problem]))
}

/// What is transparent shows white behind it.
fn on_white(image: InputImage) -> Pixels {
    let rgb = match image.pixels {
        InputPixels::Rgb(rgb) => rgb,
        InputPixels::Rgba(rgba) => {
            rgba.chunks_exact(4).flat_map(|p| [0, 1, 2].map(|c| over_white(p[c], p[3]))).collect()
        }
    };
    Pixels { width: image.width as usize, height: image.height as usize, rgb }
}

/// Rounded to the nearest.
fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparency_shows_white() {
        assert_eq!([over_white(10, 255), over_white(10, 0), over_white(0, 128)], [10, 255, 127]);
        let image = InputImage { width: 2, height: 1, pixels: InputPixels::Rgba(vec![1, 2, 3, 255, 9, 9, 9, 0]) };
        assert_eq!(on_white(image).rgb, [1, 2, 3, 255, 255, 255]);
    }
}
