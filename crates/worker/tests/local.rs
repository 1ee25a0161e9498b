//! Requests at models that run here: what of the page's fields they follow, and what is said of the rest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;
use std::sync::Mutex;

use scumble_api::{ImageFormat, ImageSize, Scope, find};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{DType, Device, Pixels, Stage, Trace};
use scumble_testkit::tiny::{self, Variant};
use scumble_worker::runner::{Drawn, Local, Model, Request, RunError, Watch};
use scumble_worker::{GivenPicture, Picture};
use serde_json::{Value, json};

const AURA_FLOW: &str = "fal-ai/aura-flow";
const SD35: &str = "fal-ai/stable-diffusion-v35-large";

#[test]
fn every_field_of_aura_flow_counts_or_is_spoken_of() {
    let folder = tiny::of(Variant::AuraFlow).tempdir();
    let draw = |change: Value| run(folder.path(), AURA_FLOW, &change, None);
    let plain = draw(json!({}));
    let picture = &plain.drawn.as_ref().unwrap().pictures[0];
    assert_eq!((picture.width, picture.height), (96, 64));
    assert_eq!(picture.format.content_type(), "image/png");
    assert_eq!(plain.bytes(), draw(json!({})).bytes(), "the same call, the same bytes");

    for change in [
        json!({ "prompt": "a dog" }),
        json!({ "seed": 8 }),
        json!({ "guidance_scale": 9.0 }),
        json!({ "num_inference_steps": 21 }),
    ] {
        assert_ne!(plain.bytes(), draw(change.clone()).bytes(), "{change}");
    }
    let two = draw(json!({ "num_images": 2 }));
    assert_eq!(two.bytes().len(), 2);
    assert_ne!(two.bytes()[0], two.bytes()[1]);

    let unchanged = draw(json!({ "expand_prompt": false }));
    assert_eq!(plain.bytes(), unchanged.bytes());
    assert_eq!(plain.drawn.unwrap().prompt, None, "the answer holds the prompt that was used, which is the caller's");
}

#[test]
fn stable_diffusion_keeps_out_what_the_negative_prompt_names() {
    let folder = tiny::of(Variant::Sd35).tempdir();
    let draw = |change: Value| run(folder.path(), SD35, &change, None);
    let plain = draw(json!({}));
    assert_ne!(plain.bytes(), draw(json!({ "negative_prompt": "blurry" })).bytes());
    assert_eq!(plain.bytes(), draw(json!({ "negative_prompt": "", "loras": [] })).bytes());
    assert_eq!(draw(json!({ "num_images": 4, "num_inference_steps": 1 })).bytes().len(), 4);
}

#[test]
fn every_field_of_f_lite_counts() {
    let folder = tiny::of(Variant::FLite).tempdir();
    for endpoint in ["fal-ai/f-lite/standard", "fal-ai/f-lite/texture"] {
        let draw = |change: Value| run(folder.path(), endpoint, &change, None);
        let plain = draw(json!({}));
        let picture = &plain.drawn.as_ref().unwrap().pictures[0];
        assert_eq!((picture.width, picture.height), (96, 64));
        assert_eq!(picture.format.content_type(), "image/jpeg");
        assert!(!plain.log.iter().any(|line| line.contains("does not follow")), "{:?}", plain.log);
        for same in [json!({ "negative_prompt": "" }), json!({ "guidance_scale": 3.5 })] {
            assert_eq!(plain.bytes(), draw(same.clone()).bytes(), "{same}");
        }
        for change in [
            json!({ "prompt": "a dog" }),
            json!({ "negative_prompt": "blurry" }),
            json!({ "seed": 8 }),
            json!({ "guidance_scale": 9.0 }),
            json!({ "guidance_scale": 0.0 }),
            json!({ "num_inference_steps": 21 }),
            json!({ "image_size": { "width": 64, "height": 96 } }),
        ] {
            assert_ne!(plain.bytes(), draw(change.clone()).bytes(), "{change}");
        }
        let several = draw(json!({ "num_images": 4, "num_inference_steps": 1 }));
        assert_eq!(several.bytes().len(), 4);
        assert_ne!(several.bytes()[2], several.bytes()[3]);
    }
}

/// The picture is the one that golden tensors were recorded with; the mask is too small, and fitted.
#[test]
fn a_fill_is_as_large_as_its_picture_and_follows_the_mask() {
    let folder = tiny::of(Variant::Fill).tempdir();
    let given = |field: &str, pixels: &Pixels| {
        let picture = Picture::encode(pixels, ImageFormat::Png).unwrap();
        GivenPicture {
            path: vec![field.to_owned()],
            url: format!("https://pictures.test/{field}.png"),
            size: ImageSize { width: picture.width, height: picture.height },
            bytes: picture.bytes.into(),
            content_type: "image/png",
        }
    };
    let draw = |pictures: &[GivenPicture]| {
        let body = json!({
            "prompt": "a cat",
            "seed": 7,
            "image_url": "https://pictures.test/image_url.png",
            "mask_url": "https://pictures.test/mask_url.png",
        });
        let input = find("fal-ai/flux-pro/v1/fill").unwrap().parse(&body, Scope::Wire).unwrap();
        let model = Model { source: Source::Folder(folder.path().into()), precision: exact(None) };
        Local::new(model).draw(&Request::new(&input, pictures.to_vec(), 7, 1), &Ear::default(), None)
    };
    let picture = given("image_url", &tiny::picture(100, 70));
    let plain = draw(&[picture.clone(), given("mask_url", &tiny::mask(50, 35))]).unwrap();
    assert_eq!((plain.pictures[0].width, plain.pictures[0].height), (96, 64));
    let white = Pixels { width: 4, height: 4, rgb: vec![255; 48] };
    let other = draw(&[picture.clone(), given("mask_url", &white)]).unwrap();
    assert_ne!(plain.pictures[0].bytes, other.pictures[0].bytes);
    match draw(&[picture]) {
        Err(error @ RunError::Invalid(_)) => {
            assert_eq!(error.answer().body["detail"][0]["loc"], json!(["body", "mask_url"]));
        }
        other => panic!("{other:?}"),
    }
}

/// The same model as an endpoint that gives back what is not masked, and the size of the picture.
#[test]
fn a_fill_with_loras_pastes_back_and_resizes() {
    let folder = tiny::of(Variant::Fill).tempdir();
    let source = tiny::picture(100, 70);
    // painted on the left only
    let rgb = (0..100 * 70).flat_map(|at| [if at % 100 < 40 { 255 } else { 0 }; 3]).collect();
    let mask = Pixels { width: 100, height: 70, rgb };
    let given = |field: &str, pixels: &Pixels| {
        let picture = Picture::encode(pixels, ImageFormat::Png).unwrap();
        let size = ImageSize { width: picture.width, height: picture.height };
        let (path, url) = (vec![field.to_owned()], format!("https://pictures.test/{field}.png"));
        GivenPicture { path, url, size, bytes: picture.bytes.into(), content_type: "image/png" }
    };
    let draw = |change: Value| {
        let mut body = json!({
            "image_url": "https://pictures.test/image_url.png", "mask_url": "https://pictures.test/mask_url.png",
            "output_format": "png", "num_inference_steps": 1, "seed": 7,
        });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let input = find("fal-ai/flux-lora-fill").unwrap().parse(&body, Scope::Wire).unwrap();
        let model = Model { source: Source::Folder(folder.path().into()), precision: exact(None) };
        let pictures = vec![given("image_url", &source), given("mask_url", &mask)];
        let drawn = Local::new(model).draw(&Request::new(&input, pictures, 7, 1), &Ear::default(), None).unwrap();
        image::load_from_memory(&drawn.pictures[0].bytes).unwrap().into_rgb8()
    };
    let whole = draw(json!({ "resize_to_original": true }));
    assert_eq!(whole.dimensions(), (100, 70));
    let original = |x: u32, y: u32| &source.rgb[(y as usize * 100 + x as usize) * 3..][..3];
    assert!((45..100).all(|x| whole.get_pixel(x, 35).0 == original(x, 35)), "what is not masked is as it was");
    assert!((0..40).any(|x| whole.get_pixel(x, 35).0 != original(x, 35)), "what is masked is new");
    let plain = draw(json!({ "paste_back": false }));
    assert_eq!(plain.dimensions(), (96, 64));
    assert_ne!(plain, draw(json!({})));
}

#[test]
fn a_size_beyond_the_models_positions_is_the_callers_to_mend() {
    for (variant, endpoint) in [(Variant::AuraFlow, AURA_FLOW), (Variant::Sd35, SD35)] {
        let folder = tiny::of(variant).tempdir();
        let size = json!({ "image_size": { "width": 1920, "height": 1072 } });
        let problem = refused(run(folder.path(), endpoint, &size, None));
        assert_eq!(problem["loc"], json!(["body", "image_size"]), "{problem}");
        let said = problem["msg"].as_str().unwrap();
        // the field's name is in loc
        assert!(said.starts_with("Must be at most") && !said.contains("image_size"), "{problem}");
    }
}

#[test]
fn what_overflows_is_told_with_its_remedy() {
    let folder = tiny::of(Variant::AuraFlow).tempdir();
    let file = folder.path().join("transformer/diffusion_pytorch_model.safetensors");
    // float16 ends at 65504
    scale(&file, "proj_out.weight", 1e6);
    match run(folder.path(), AURA_FLOW, &json!({}), Some(DType::F16)).drawn {
        Err(RunError::Answered(answer)) => {
            let message = answer.message();
            assert!(message.contains("float16") && message.contains("bfloat16 or float32"), "{message}");
            assert_eq!(answer.status, 500);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn loading_is_announced_where_something_is_loaded() {
    let folder = tiny::of(Variant::AuraFlow).tempdir();
    let mut body = json!({ "prompt": "a cat", "num_inference_steps": 20, "max_sequence_length": 48 });
    body["image_size"] = json!({ "width": 96, "height": 64 });
    let input = find(AURA_FLOW).unwrap().parse(&body, Scope::Local).unwrap();
    let local = Local::new(Model { source: Source::Folder(folder.path().into()), precision: exact(None) });
    for loads in [1, 0] {
        let ear = Ear::default();
        local.draw(&Request::new(&input, Vec::new(), 7, 1), &ear, None).unwrap();
        let stages = ear.stages.into_inner().unwrap();
        assert_eq!(stages.iter().filter(|stage| **stage == Stage::Load).count(), loads, "{stages:?}");
        assert!(stages.contains(&Stage::Decode));
    }
}

#[test]
fn weights_of_another_model_are_named() {
    let folder = tiny::of(Variant::AuraFlow).tempdir();
    match run(folder.path(), SD35, &json!({}), None).drawn {
        Err(RunError::Unavailable(said)) => {
            assert!(said.contains("AuraFlowPipeline") && said.contains("StableDiffusion3Pipeline"), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

/// What a run came to.
struct Heard {
    drawn: Result<Drawn, RunError>,
    log: Vec<String>,
}

impl Heard {
    fn bytes(&self) -> Vec<&[u8]> {
        self.drawn.as_ref().unwrap().pictures.iter().map(|p| &p.bytes[..]).collect()
    }
}

/// One run at a tiny checkpoint, small and quick unless `change` says otherwise.
fn run(folder: &Path, endpoint: &str, change: &Value, dtype: Option<DType>) -> Heard {
    let mut body = json!({
        "prompt": "a cat holding a sign",
        "seed": 7,
        "image_size": { "width": 96, "height": 64 },
        "num_inference_steps": 20,
        "max_sequence_length": 48,
    });
    if endpoint == SD35 {
        body["num_inference_steps"] = 2.into();
    }
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let input = find(endpoint).unwrap().parse(&body, Scope::Local).unwrap();
    let seed = input.request().seed.unwrap();
    let model = Model { source: Source::Folder(folder.into()), precision: Precision { device: Device::Cpu, dtype } };
    let ear = Ear::default();
    let drawn = Local::new(model).draw(&Request::new(&input, Vec::new(), seed, 1), &ear, None::<&Trace>);
    Heard { drawn, log: ear.log.into_inner().unwrap() }
}

fn exact(dtype: Option<DType>) -> Precision {
    Precision { device: Device::Cpu, dtype }
}

/// The first problem of an input that does not fit the model.
fn refused(heard: Heard) -> Value {
    match heard.drawn {
        Err(error @ RunError::Invalid(_)) => {
            let answer = error.answer();
            assert_eq!(answer.status, 422);
            answer.body["detail"][0].clone()
        }
        other => panic!("{other:?}"),
    }
}

/// Multiplies a float32 tensor of a safetensors file in its place.
fn scale(file: &Path, name: &str, by: f32) {
    let mut bytes = std::fs::read(file).unwrap();
    let data = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let place = |end: usize| data + usize::try_from(header[name]["data_offsets"][end].as_u64().unwrap()).unwrap();
    for number in bytes[place(0)..place(1)].chunks_exact_mut(4) {
        let value = f32::from_le_bytes((&*number).try_into().unwrap()) * by;
        number.copy_from_slice(&value.to_le_bytes());
    }
    std::fs::write(file, bytes).unwrap();
}

/// Remembers what is said.
#[derive(Default)]
struct Ear {
    log: Mutex<Vec<String>>,
    stages: Mutex<Vec<Stage>>,
}

impl Watch for Ear {
    fn stage(&self, stage: Stage) {
        self.stages.lock().unwrap().push(stage);
    }
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, message: &str) {
        self.log.lock().unwrap().push(message.to_owned());
    }
    fn cancelled(&self) -> bool {
        false
    }
}
