//! A request in the engine's terms, and what of it the engine cannot follow.

use scumble_api::{Endpoint, Family, Field, ImageSize, Input, Kind, Problem, Size, SizeLimits};
use scumble_engine::adapters::{AdapterFiles, ControlNet, IpAdapter, Lora};
use scumble_engine::families::{self, Family as Engine};
use scumble_engine::{Acceleration, Call, Pixels, Solver};
use serde_json::{Map, Value};

use super::super::{Request, RunError, Watch};
use crate::inputs::{GivenPicture, InputImage, InputPixels};

/// Fields that others see to: what becomes of the prompt first, how pictures are stored and given back, whether they are
/// looked at, and what is done with what the engine has made.
const ELSEWHERE: &[&str] = &[
    "expand_prompt",
    "output_format",
    "sync_mode",
    "enable_safety_checker",
    "safety_tolerance",
    "paste_back",
    "resize_to_original",
];

/// What a picture as large as one that was given is held to.
const LIMITS: SizeLimits = SizeLimits { min: 16, max: 1 << 14, area: 4_194_304, step: 16 };

/// The call. What is asked and cannot be followed is an error where the picture would be another one, and a line in the
/// job's log where it only says how to get there.
pub(super) fn call(request: &Request, watch: &dyn Watch) -> Result<Call, RunError> {
    let problems = refused(request.endpoint, &request.values);
    if !problems.is_empty() {
        return Err(RunError::Invalid(problems));
    }
    let family = engine(request.endpoint);
    for (name, value) in family.map_or_else(Vec::new, |family| unfollowed(&request.values, family)) {
        if let Some(line) = remark(request.endpoint, name, value) {
            watch.log(&line);
        }
    }
    as_call(request, family)
}

/// What of an input would make another picture, and cannot be followed by the engine: known before anything is fetched.
pub fn refusals(input: &Input) -> Vec<Problem> {
    refused(input.endpoint(), input.values())
}

fn refused(endpoint: &Endpoint, values: &Map<String, Value>) -> Vec<Problem> {
    let unfollowed = engine(endpoint).map_or_else(Vec::new, |family| unfollowed(values, family));
    unfollowed.into_iter().filter_map(|(name, value)| refusal(endpoint.field(name), name, value)).collect()
}

fn engine(endpoint: &Endpoint) -> Option<&'static Engine> {
    endpoint.pipeline().and_then(families::find)
}

/// The values that neither the engine nor anybody else sees to.
fn unfollowed<'a>(values: &'a Map<String, Value>, family: &Engine) -> Vec<(&'a str, &'a Value)> {
    let known = |name: &str| family.accepts.contains(&name) || ELSEWHERE.contains(&name);
    values.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !known(name)).collect()
}

/// Adapters and pictures make another picture.
fn refusal(field: Option<&Field>, name: &str, value: &Value) -> Option<Problem> {
    let asked = match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
        Value::String(_) => {
            field.is_some_and(|field| matches!(field.kind, Kind::Image | Kind::Mask { .. } | Kind::Weights { .. }))
        }
        _ => false,
    };
    asked.then(|| {
        let message = format!("{name} cannot be followed by the model that runs here; leave it out");
        Problem::new(&[name], "value_error", message)
    })
}

fn remark(endpoint: &Endpoint, name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        ("acceleration", Value::String(how)) => (how == "high")
            .then(|| "acceleration: this model computes every step in full, whatever is asked".to_owned()),
        // what stands there unless somebody says otherwise is nobody's wish
        _ if endpoint.field(name).and_then(Field::default).as_ref() == Some(value) => None,
        (_, Value::Array(_) | Value::Null) => None,
        _ => Some(format!("{name}: the model that runs here does not follow it; it was not used")),
    }
}

fn as_call(request: &Request, family: Option<&Engine>) -> Result<Call, RunError> {
    let input = &request.input;
    let open = |field: &str| request.endpoint.field(field).is_none();
    let steps = match family {
        Some(family) if open("num_inference_steps") => family.steps,
        _ => input.steps as usize,
    };
    let given = |field: &str| request.values.get(field).and_then(Value::as_f64);
    let scale = input.guidance.or_else(|| given("text_guidance_scale"));
    let scale = scale.unwrap_or_else(|| family.map_or(1.0, |family| family.guidance));
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
        to_trained_area: false,
        steps,
        guidance,
        true_cfg,
        seed: request.seed,
        images: input.images as usize,
        picture: picture(request, &["image_url"])?,
        mask: picture(request, &["mask_url"])?,
        pictures: pictures(request, "input_image_urls")?,
        picture_guidance: given("image_guidance_scale").unwrap_or(1.0),
        guided_steps: [given("cfg_range_start").unwrap_or(0.0), given("cfg_range_end").unwrap_or(1.0)],
        solver: solver(request),
        strength: given("strength").unwrap_or(1.0),
        max_sequence_length: input.max_sequence_length.map(|n| n as usize),
        loras: loras(request)?,
        controlnet: controlnet(request)?,
        ip_adapter: ip_adapter(request)?,
        acceleration: acceleration(request),
        apg: None,
    })
}

fn solver(request: &Request) -> Solver {
    match request.values.get("scheduler").and_then(Value::as_str) {
        Some("dpmsolver") => Solver::Dpm,
        _ => Solver::Euler,
    }
}

fn acceleration(request: &Request) -> Acceleration {
    match request.values.get("acceleration").and_then(Value::as_str) {
        Some("high") => Acceleration::High,
        Some("regular") => Acceleration::Regular,
        _ => Acceleration::None,
    }
}

fn loras(request: &Request) -> Result<Vec<Lora>, RunError> {
    let listed = request.values.get("loras").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let lora = |(place, lora): (usize, &Value)| {
        let files = files(request, &["loras", &place.to_string(), "path"])?;
        Ok(Lora { files, scale: number(lora, "scale", 1.0) })
    };
    listed.iter().enumerate().map(lora).collect()
}

fn controlnet(request: &Request) -> Result<Option<ControlNet>, RunError> {
    const NAME: &str = "controlnet";
    let Some(asked) = request.values.get(NAME) else { return Ok(None) };
    Ok(Some(ControlNet {
        files: files(request, &[NAME, "path"])?,
        picture: needed(request, &[NAME, "control_image_url"])?,
        scale: number(asked, "conditioning_scale", 1.0),
        start: number(asked, "start_percentage", 0.0),
        end: number(asked, "end_percentage", 1.0),
    }))
}

fn ip_adapter(request: &Request) -> Result<Option<IpAdapter>, RunError> {
    const NAME: &str = "ip_adapter";
    let Some(asked) = request.values.get(NAME) else { return Ok(None) };
    Ok(Some(IpAdapter {
        files: files(request, &[NAME, "path"])?,
        encoder: files(request, &[NAME, "image_encoder_path"])?,
        picture: needed(request, &[NAME, "image_url"])?,
        mask: picture(request, &[NAME, "mask_image_url"])?,
        mask_threshold: number(asked, "mask_threshold", 0.5),
        scale: number(asked, "scale", 1.0),
    }))
}

fn number(object: &Value, name: &str, usual: f64) -> f64 {
    object.get(name).and_then(Value::as_f64).unwrap_or(usual)
}

/// The files of the adapter that is named here. Whoever makes a request has found them before.
fn files(request: &Request, path: &[&str]) -> Result<AdapterFiles, RunError> {
    let found = request.adapters.iter().find(|adapter| adapter.path == path);
    let missing = || RunError::Failed(format!("the adapter at {} was not read before the run", path.join(".")));
    found.map(|adapter| adapter.files.clone()).ok_or_else(missing)
}

/// The size that is asked; where it follows a picture, that one's, scaled to what a model here can draw.
fn size(request: &Request) -> Result<ImageSize, RunError> {
    let Size::Like(url) = &request.input.size else { return Ok(request.input.size.pixels(None)) };
    let Some(followed) = request.pictures.iter().find(|picture| picture.url == *url) else {
        return Ok(request.input.size.pixels(None));
    };
    let size = followed.size;
    size.fit(LIMITS).ok_or_else(|| {
        let loc: Vec<&str> = followed.path.iter().map(String::as_str).collect();
        let message = format!("The image of {} × {} pixels is too narrow to be drawn", size.width, size.height);
        RunError::Invalid(vec![Problem::new(&loc, "image_too_small", message)])
    })
}

/// The picture that was given at this field, without transparency.
pub(super) fn picture(request: &Request, path: &[&str]) -> Result<Option<Pixels>, RunError> {
    request.pictures.iter().find(|picture| picture.path == path).map(decoded).transpose()
}

/// The pictures that were given in this list, in its order.
fn pictures(request: &Request, list: &str) -> Result<Vec<Pixels>, RunError> {
    let is_listed = |picture: &&GivenPicture| picture.path.len() == 2 && picture.path[0] == list;
    request.pictures.iter().filter(is_listed).map(decoded).collect()
}

fn decoded(given: &GivenPicture) -> Result<Pixels, RunError> {
    given.decoded().map(on_white).map_err(|problem| RunError::Invalid(vec![problem]))
}

/// The same where nothing can be drawn without it.
fn needed(request: &Request, path: &[&str]) -> Result<Pixels, RunError> {
    let missing = || RunError::Invalid(vec![Problem::new(path, "missing", "Field required")]);
    picture(request, path)?.ok_or_else(missing)
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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::adapters::GivenAdapter;
    use crate::picture::Picture;
    use scumble_api::{ImageFormat, Scope};
    use serde_json::json;

    /// A request with adapters and grey pictures wherever its body names some.
    fn request(endpoint: &str, body: &Value) -> Request {
        let input = scumble_api::find(endpoint).unwrap().parse(body, Scope::Wire).unwrap();
        let given = |(shade, named): (usize, scumble_api::InputPicture)| {
            let pixels = Pixels { width: 40, height: 24, rgb: vec![shade as u8; 40 * 24 * 3] };
            let bytes = Picture::encode(&pixels, ImageFormat::Png).unwrap().bytes.into();
            let size = ImageSize { width: 40, height: 24 };
            GivenPicture { path: named.path, url: named.url, bytes, content_type: "image/png", size }
        };
        let pictures = input.pictures().into_iter().enumerate().map(given).collect();
        let adapter = |weights: scumble_api::InputWeights| {
            let files = AdapterFiles { name: weights.source, ..AdapterFiles::default() };
            GivenAdapter::new(weights.path, files)
        };
        let mut request = Request::new(&input, pictures, 7, 1);
        request.adapters = input.weights().into_iter().map(adapter).collect();
        request
    }

    #[test]
    fn transparency_shows_white() {
        assert_eq!([over_white(10, 255), over_white(10, 0), over_white(0, 128)], [10, 255, 127]);
        let image = InputImage { width: 2, height: 1, pixels: InputPixels::Rgba(vec![1, 2, 3, 255, 9, 9, 9, 0]) };
        assert_eq!(on_white(image).rgb, [1, 2, 3, 255, 255, 255]);
    }

    #[test]
    fn every_adapter_is_in_the_call_with_all_that_was_said_of_it() {
        let body = json!({
            "prompt": "x",
            "loras": [{ "path": "a/one" }, { "path": "a/two", "scale": 0.25 }],
            "controlnet": { "path": "a/control", "control_image_url": "u", "conditioning_scale": 0.5,
                            "start_percentage": 0.1, "end_percentage": 0.9 },
            "ip_adapter": { "path": "a/ip", "image_encoder_path": "a/encoder", "image_url": "v", "mask_image_url": "w",
                            "mask_threshold": 0.25, "scale": -0.5 },
        });
        let call = as_call(&request("fal-ai/stable-diffusion-v35-large", &body), None).unwrap();
        let loras: Vec<_> = call.loras.iter().map(|lora| (lora.files.name.as_str(), lora.scale)).collect();
        assert_eq!(loras, [("a/one", 1.0), ("a/two", 0.25)]);
        let control = call.controlnet.unwrap();
        assert_eq!(
            (control.files.name.as_str(), control.scale, control.start, control.end),
            ("a/control", 0.5, 0.1, 0.9)
        );
        assert_eq!(control.picture.rgb[0], 0);
        let ip = call.ip_adapter.unwrap();
        assert_eq!((ip.files.name.as_str(), ip.encoder.name.as_str()), ("a/ip", "a/encoder"));
        assert_eq!((ip.scale, ip.mask_threshold, ip.picture.rgb[0], ip.mask.unwrap().rgb[0]), (-0.5, 0.25, 1, 2));
        assert_eq!((call.width, call.height), (40, 24), "as large as the control picture");
    }

    #[test]
    fn a_picture_to_start_from_comes_with_its_strength_and_size() {
        let body = json!({ "prompt": "x", "image_url": "u", "acceleration": "high" });
        let call = as_call(&request("fal-ai/flux/dev/image-to-image", &body), None).unwrap();
        assert_eq!((call.strength, call.steps, call.width, call.height), (0.95, 40, 40, 24));
        assert_eq!((call.acceleration, call.picture.unwrap().width), (Acceleration::High, 40));
        let sized = json!({ "prompt": "x", "image_url": "u", "image_size": "square" });
        let call = as_call(&request("fal-ai/flux-lora/image-to-image", &sized), None).unwrap();
        assert_eq!((call.strength, call.width, call.height), (0.85, 512, 512));
    }

    #[test]
    fn what_no_family_follows_is_refused_before_anything_is_read() {
        let body = json!({ "image_url": "u", "mask_url": "v", "fill_image": { "fill_image_url": ["w"] } });
        let input = scumble_api::find("fal-ai/flux-lora-fill").unwrap().parse(&body, Scope::Wire).unwrap();
        let refused: Vec<_> = refusals(&input).into_iter().map(|problem| problem.field().to_owned()).collect();
        assert_eq!(refused, ["fill_image"]);
        let adapters = request("fal-ai/flux-lora", &json!({ "prompt": "x", "loras": [{ "path": "a/b" }] }));
        let unread = Request { adapters: Vec::new(), ..adapters };
        assert!(matches!(as_call(&unread, None), Err(RunError::Failed(_))), "nothing is left out silently");
    }
}
