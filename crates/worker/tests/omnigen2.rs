//! Requests at OmniGen2 with pictures: over HTTP, from a host beside, through the queue, and what is said of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use axum::Router;
use axum::routing::get;
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use reqwest::Method;
use scumble_api::{ImageSize, Scope, find};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{DType, Device, Pixels, Stage};
use scumble_testkit::server::{Setup, TestServer};
use scumble_testkit::tiny::{self, Variant};
use scumble_worker::runner::{Local, Model, Request, RunError, Watch};
use scumble_worker::{GivenPicture, ModelConfig, Models, ModelsConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const OMNIGEN: &str = "fal-ai/omnigen-v2";

/// A picture with a soft edge of transparency.
fn photo(width: u32, height: u32, shade: u8) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| Rgba([(x * 5) as u8, (y * 3) as u8, shade, 255 - (x % 128) as u8]))
}

fn png(picture: RgbaImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

// --------------------------------------------------------------------------------------------------- over HTTP

/// A host of three pictures, and of a file that is none.
async fn host() -> (String, AbortOnDropHandle<()>) {
    let serve = |bytes: Vec<u8>| get(async move || bytes);
    let router = Router::new()
        .route("/one.png", serve(png(photo(75, 50, 10))))
        .route("/two.png", serve(png(photo(33, 47, 200))))
        .route("/three.png", serve(png(photo(90, 17, 90))))
        .route("/small.png", serve(png(photo(90, 9, 90))))
        .route("/broken.png", serve(b"\x89PNG\r\n\x1a\nand no more".to_vec()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })))
}

async fn server(weights: &Path) -> TestServer {
    let mut setup = Setup::default();
    setup.worker.fetch.allow_private = true;
    let own = ModelConfig { weights: Some(weights.to_owned()), dtype: Some(DType::F32), ..ModelConfig::default() };
    let models = HashMap::from([(OMNIGEN.to_owned(), own)]);
    let config = ModelsConfig { models, ..ModelsConfig::default() };
    TestServer::answering(setup, Models::new(&config).unwrap()).await
}

#[tokio::test]
async fn a_job_with_pictures_of_another_host_draws_and_says_what_had_no_effect() {
    let folder = tiny::of(Variant::OmniGen2).tempdir();
    let (server, (host, _alive)) = (server(folder.path()).await, host().await);
    let body = |pictures: &[&str]| {
        let urls: Vec<String> = pictures.iter().map(|name| format!("{host}/{name}.png")).collect();
        json!({ "prompt": "the dog of image 1", "input_image_urls": urls, "num_inference_steps": 20, "seed": 3,
                "image_size": { "width": 80, "height": 52 }, "output_format": "png" })
    };
    for (pictures, size) in [(&["one"][..], (64, 48)), (&["one", "two", "three"], (80, 52))] {
        let submitted = server.request(Method::POST, &format!("/queue/{OMNIGEN}")).json(&body(pictures));
        let submitted: Value = submitted.send().await.unwrap().json().await.unwrap();
        let status = server.ended(&submitted).await;
        let answer = reqwest::get(submitted["response_url"].as_str().unwrap()).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let picture = &answer["images"][0];
        assert_eq!((&picture["width"], &picture["height"]), (&json!(size.0), &json!(size.1)), "{answer}");
        let lines: Vec<&str> =
            status["logs"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap()).collect();
        let said = lines.iter().any(|line| line.contains("image_size had no effect") && line.contains("64x48"));
        assert_eq!(said, pictures.len() == 1, "{lines:?}");
        assert!(
            !lines.iter().any(|line| line.contains("does not follow") || line.contains("in place of")),
            "{lines:?}"
        );
    }

    let refused = async |pictures: &[&str]| {
        let answer = server.request(Method::POST, &format!("/run/{OMNIGEN}")).json(&body(pictures)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 422);
        answer.json::<Value>().await.unwrap()["detail"][0].clone()
    };
    let problem = refused(&["one", "two", "three", "one"]).await;
    assert_eq!(problem["loc"], json!(["body", "input_image_urls"]), "{problem}");
    let problem = refused(&["one", "broken"]).await;
    assert_eq!(problem["loc"], json!(["body", "input_image_urls", 1]), "{problem}");
    let problem = refused(&["one", "small"]).await;
    assert_eq!(problem["loc"], json!(["body", "input_image_urls"]), "{problem}");
    assert!(problem["msg"].as_str().unwrap().contains("picture 2"), "{problem}");
    for (field, value) in [("cfg_range_start", -0.1), ("cfg_range_end", 1.1), ("image_guidance_scale", 3.5)] {
        let mut body = body(&[]);
        body[field] = value.into();
        let answer = server.request(Method::POST, &format!("/run/{OMNIGEN}")).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["detail"][0]["loc"], json!(["body", field]), "{answer}");
    }
}

// ------------------------------------------------------------------------------------------------ field by field

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Watch for Ear {
    fn stage(&self, _: Stage) {}
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
    fn cancelled(&self) -> bool {
        false
    }
}

/// What two pictures are given with these changes become, and what is said.
fn drawn(local: &Local, change: &Value) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut body = json!({
        "prompt": "a cat", "seed": 7, "num_inference_steps": 4, "image_size": { "width": 48, "height": 32 },
        "input_image_urls": ["https://pictures.test/0.png", "https://pictures.test/1.png"], "output_format": "png",
    });
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    // a few steps are enough; only the owner's own runs may ask for so few
    let steps = body.as_object_mut().unwrap().remove("num_inference_steps").unwrap();
    let input = find(OMNIGEN).unwrap().parse(&body, Scope::Local).unwrap();
    let given = |named: scumble_api::InputPicture| {
        let shade = if named.url.ends_with("0.png") { 40 } else { 180 };
        let size = ImageSize { width: 35, height: 52 };
        let bytes = png(photo(size.width, size.height, shade)).into();
        GivenPicture { path: named.path, url: named.url, size, bytes, content_type: "image/png" }
    };
    let pictures = input.pictures().into_iter().map(given).collect();
    let seed = input.request().seed.unwrap();
    let mut request = Request::new(&input, pictures, seed, 1);
    request.input.steps = steps.as_u64().unwrap().try_into().unwrap();
    let ear = Ear::default();
    let drawn = local.draw(&request, &ear, None).unwrap();
    (drawn.pictures.into_iter().map(|picture| picture.bytes).collect(), ear.0.into_inner().unwrap())
}

#[test]
fn every_field_counts() -> Result<(), RunError> {
    let folder = tiny::of(Variant::OmniGen2).tempdir();
    let precision = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    let local = Local::new(Model { source: Source::Folder(folder.path().into()), precision });
    let (plain, said) = drawn(&local, &json!({}));
    assert!(said.is_empty(), "{said:?}");
    for same in [
        json!({ "text_guidance_scale": 5, "image_guidance_scale": 2.0 }),
        json!({ "cfg_range_start": 0.0, "cfg_range_end": 1 }),
        json!({ "scheduler": "euler", "enable_safety_checker": false }),
    ] {
        assert_eq!(drawn(&local, &same).0, plain, "{same}");
    }
    for change in [
        json!({ "prompt": "a dog" }),
        json!({ "seed": 8 }),
        json!({ "negative_prompt": "blurry" }),
        json!({ "text_guidance_scale": 7 }),
        json!({ "image_guidance_scale": 1.5 }),
        json!({ "cfg_range_start": 0.3 }),
        json!({ "cfg_range_end": 0.6 }),
        json!({ "scheduler": "dpmsolver" }),
        json!({ "num_inference_steps": 5 }),
        json!({ "image_size": { "width": 32, "height": 48 } }),
        json!({ "input_image_urls": [] }),
        json!({ "input_image_urls": ["https://pictures.test/1.png", "https://pictures.test/0.png"] }),
        json!({ "output_format": "jpeg" }),
    ] {
        assert_ne!(drawn(&local, &change).0, plain, "{change}");
    }
    let two = drawn(&local, &json!({ "num_images": 2 })).0;
    assert_eq!((two.len(), &two[0]), (2, &plain[0]));
    assert_ne!(two[0], two[1]);
    let (_, said) = drawn(&local, &json!({ "cfg_range_start": 0.9, "cfg_range_end": 0.1 }));
    assert!(said.iter().any(|line| line.contains("nothing is guided")), "{said:?}");
    Ok(())
}
