//! From fal's fields to BFL's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use scumble_api::Problem;
use serde_json::{Map, Value, json};

use crate::core::call::Call;
use crate::core::error::MakerError;
use crate::picture::{Input, Takes, Wish, grey, input};
use crate::sizes::grid32;

/// What is submitted, but for the seed.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) model: &'static str,
    pub(super) path: &'static str,
    pub(super) body: Map<String, Value>,
    pub(super) wish: Wish,
    /// What a content checker that refuses the request has looked at.
    pub(super) looked_at: &'static str,
    /// For the job's log: what has no effect here.
    pub(super) notes: Vec<String>,
}

/// 20 MB and 20 megapixels, sides of at least 256.
const TAKES: Takes = Takes { bytes: 20 * 1024 * 1024, least: 256, pixels: 20_000_000 };

const ASPECTS: &[&str] = &["21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21"];
const TOLERANCES: &[&str] = &["1", "2", "3", "4", "5", "6"];

/// Where a call goes and with what.
pub(super) fn order(call: &Call, flux_pro_model: &str, exact: bool) -> Result<Order, MakerError> {
    match call.endpoint.as_str() {
        "fal-ai/flux-pro" if flux_pro_model == "flux-pro" => first(call, exact),
        "fal-ai/flux-pro" | "fal-ai/flux-pro/v1.1" => plain(call, exact),
        "fal-ai/flux-pro/v1.1/redux" | "fal-ai/flux-pro/v1/redux" => plain(call, exact),
        "fal-ai/flux-pro/v1.1-ultra" | "fal-ai/flux-pro/v1.1-ultra/redux" => ultra(call),
        "fal-ai/flux-pro/v1/fill" => fill(call),
        other => Err(MakerError::internal(format!("Black Forest Labs has nothing for {other}"))),
    }
}

fn plain(call: &Call, exact: bool) -> Result<Order, MakerError> {
    let mut order = Order::new(call, "flux-pro-1.1", "/v1/flux-pro-1.1")?;
    order.size(call, exact);
    order.image(call, "image_url", "image_prompt")?;
    order.without(call, &["num_inference_steps", "guidance_scale"]);
    Ok(order)
}

/// The path that is not in the maker's contract any more; only where the owner asks for it.
fn first(call: &Call, exact: bool) -> Result<Order, MakerError> {
    let mut order = Order::new(call, "flux-pro", "/v1/flux-pro")?;
    order.size(call, exact);
    if let Some(steps) = call.number("num_inference_steps") {
        order.body.insert("steps".into(), json!(steps.round().clamp(1.0, 50.0) as u32));
    }
    if let Some(guidance) = call.number("guidance_scale") {
        order.body.insert("guidance".into(), json!(guidance.clamp(1.5, 5.0)));
        if !(1.5..=5.0).contains(&guidance) {
            order.notes.push(format!("guidance_scale {guidance} is changed to fit the maker's range of 1.5 to 5"));
        }
    }
    Ok(order)
}

fn ultra(call: &Call) -> Result<Order, MakerError> {
    let mut order = Order::new(call, "flux-pro-1.1-ultra", "/v1/flux-pro-1.1-ultra")?;
    if let Some(aspect) = call.values.get("aspect_ratio") {
        order.body.insert("aspect_ratio".into(), checked_aspect(aspect)?.into());
    }
    if let Some(raw) = call.flag("raw") {
        order.body.insert("raw".into(), raw.into());
    }
    if order.image(call, "image_url", "image_prompt")? {
        let strength = call.number("image_prompt_strength").unwrap_or(0.1);
        order.body.insert("image_prompt_strength".into(), json!(in_range("image_prompt_strength", strength)?));
    }
    Ok(order)
}

fn fill(call: &Call) -> Result<Order, MakerError> {
    let mut order = Order::new(call, "flux-pro-1.0-fill", "/v1/flux-pro-1.0-fill")?;
    let image = required(call, "image_url", TAKES)?;
    // white is drawn anew, here as there; a smaller mask is made the picture's size
    let mask = required(call, "mask_url", Takes { least: 1, ..TAKES })?;
    let mask = grey("mask_url", &mask, &image)?;
    order.body.insert("image".into(), BASE64.encode(&image.bytes).into());
    order.body.insert("mask".into(), BASE64.encode(mask).into());
    order.without(call, &["num_inference_steps", "guidance_scale"]);
    Ok(order)
}

impl Order {
    /// What all models have.
    fn new(call: &Call, model: &'static str, path: &'static str) -> Result<Self, MakerError> {
        // with a picture to start from, a prompt may be empty
        let from_picture = call.endpoint.ends_with("/redux");
        let prompt = if from_picture { call.text("prompt").unwrap_or_default() } else { call.prompt()? };
        let mut body = Map::new();
        body.insert("prompt".into(), prompt.into());
        body.insert("prompt_upsampling".into(), call.flag("enhance_prompt").unwrap_or(false).into());
        body.insert("safety_tolerance".into(), tolerance(call)?.into());
        let format = call.text("output_format").unwrap_or("jpeg");
        if !matches!(format, "jpeg" | "png") {
            return Err(MakerError::one_of("output_format", &["jpeg", "png"], &format.into()));
        }
        body.insert("output_format".into(), format.into());
        let mut notes = Vec::new();
        if call.flag("enable_safety_checker") == Some(false) {
            notes.push("enable_safety_checker has no effect: Black Forest Labs always checks".to_owned());
        }
        let looked_at = if prompt.trim().is_empty() { "image_url" } else { "prompt" };
        Ok(Self { model, path, body, wish: Wish::named("image"), looked_at, notes })
    }

    fn size(&mut self, call: &Call, exact: bool) {
        let size = call.size().unwrap_or((1024, 768));
        let grid = grid32(size);
        self.body.insert("width".into(), grid.asked.0.into());
        self.body.insert("height".into(), grid.asked.1.into());
        if exact {
            self.wish.size = Some((size, grid.target));
        }
        if grid.asked != size {
            let ((width, height), (w, h)) = (size, grid.asked);
            self.notes.push(format!("{width} × {height} pixels become {w} × {h}: the maker draws within these limits"));
        }
    }

    /// The picture behind a field of the caller, if there is one.
    fn image(&mut self, call: &Call, field: &str, as_field: &str) -> Result<bool, MakerError> {
        if call.image(field).is_none() && !call.endpoint.ends_with("/redux") {
            return Ok(false);
        }
        let image = required(call, field, TAKES)?;
        self.body.insert(as_field.into(), BASE64.encode(&image.bytes).into());
        Ok(true)
    }

    /// Fields that the maker's model does not have.
    fn without(&mut self, call: &Call, fields: &[&str]) {
        let given: Vec<&str> = fields.iter().copied().filter(|field| call.values.contains_key(*field)).collect();
        if !given.is_empty() {
            self.notes.push(format!("{}: no effect, since {} has no such setting", given.join(", "), self.model));
        }
    }
}

fn required(call: &Call, field: &str, takes: Takes) -> Result<Input, MakerError> {
    let missing = || MakerError::field(Problem::new(&[field], "missing", "Field required"));
    input(field, call.image(field).ok_or_else(missing)?, takes)
}

fn tolerance(call: &Call) -> Result<u8, MakerError> {
    let value = call.values.get("safety_tolerance").cloned().unwrap_or_else(|| "2".into());
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = TOLERANCES.contains(&text.as_str());
    text.parse().ok().filter(|_| known).ok_or_else(|| MakerError::one_of("safety_tolerance", TOLERANCES, &value))
}

/// `W:H` between 9:21 and 21:9.
fn checked_aspect(value: &Value) -> Result<&str, MakerError> {
    let bad = || MakerError::one_of("aspect_ratio", ASPECTS, value);
    let text = value.as_str().ok_or_else(bad)?;
    if ASPECTS.contains(&text) {
        return Ok(text);
    }
    let (width, height) = text.split_once(':').ok_or_else(bad)?;
    let side = |text: &str| text.parse::<u32>().ok().filter(|side| *side > 0).map(u64::from).ok_or_else(bad);
    let (width, height) = (side(width)?, side(height)?);
    if width * 21 >= height * 9 && width * 9 <= height * 21 { Ok(text) } else { Err(bad()) }
}

fn in_range(field: &str, value: f64) -> Result<f64, MakerError> {
    let (kind, limit, msg, bound) = match value {
        v if v < 0.0 => ("greater_than_equal", "ge", "Input should be greater than or equal to 0", 0),
        v if v > 1.0 => ("less_than_equal", "le", "Input should be less than or equal to 1", 1),
        v => return Ok(v),
    };
    Err(MakerError::field(Problem::new(&[field], kind, msg).with(limit, bound)))
}

/// The caller's field behind one of the maker's, where it is passed on as it is.
pub(super) fn field_of(maker_field: &str) -> Option<&'static str> {
    Some(match maker_field {
        "prompt" => "prompt",
        "seed" => "seed",
        "safety_tolerance" => "safety_tolerance",
        "output_format" => "output_format",
        "aspect_ratio" => "aspect_ratio",
        "raw" => "raw",
        "prompt_upsampling" => "enhance_prompt",
        "image_prompt_strength" => "image_prompt_strength",
        "image" | "image_prompt" => "image_url",
        "mask" => "mask_url",
        _ => return None,
    })
}
