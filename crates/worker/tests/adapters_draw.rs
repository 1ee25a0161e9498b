//! Adapters over HTTP to the real engine on a small model: each one counts, and whatever is wrong with one is its caller's
//! and ends nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use scumble_api::ImageFormat;
use scumble_engine::{DType, Device, Pixels, Tensor};
use scumble_testkit::server::{Setup, TestServer};
use scumble_testkit::tiny::{self, Variant, adapters, loras};
use scumble_worker::{Adapters, AdaptersConfig, ModelConfig, Models, ModelsConfig, Paths, Picture};
use serde_json::{Value, json};
use tempfile::TempDir;

const SD35: &str = "fal-ai/stable-diffusion-v35-large";

/// A server that draws with a small model, and a folder of adapters that callers may name.
struct Studio {
    server: TestServer,
    folder: TempDir,
    _weights: TempDir,
}

impl Studio {
    async fn new() -> Self {
        let (folder, weights) = (tempfile::tempdir().unwrap(), tiny::of(Variant::Sd35).tempdir());
        let mut setup = Setup::default();
        setup.server.body_bytes = 4 << 20;
        let paths = Paths::Below(vec![folder.path().into()]);
        let cache = Some(setup.folder.path().join("adapters"));
        setup.worker.adapters =
            Adapters::new(AdaptersConfig { paths, cache, free_bytes: 1, ..AdaptersConfig::default() });
        let own = ModelConfig { weights: Some(weights.path().into()), ..ModelConfig::default() };
        let config = ModelsConfig { models: HashMap::from([(SD35.to_owned(), own)]), ..ModelsConfig::default() };
        let server = TestServer::answering(setup, Models::new(&config).unwrap()).await;
        Self { server, folder, _weights: weights }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn call(&self, more: Value) -> (u16, Value) {
        let mut body = json!({
            "prompt": "a cat", "seed": 7, "num_inference_steps": 2, "sync_mode": true, "output_format": "png",
            "image_size": { "width": 96, "height": 64 },
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.server.request(Method::POST, &format!("/run/{SD35}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The picture, as a data URI.
    async fn draws(&self, more: Value) -> String {
        let (status, body) = self.call(more).await;
        assert_eq!(status, 200, "{body}");
        body["images"][0]["url"].as_str().unwrap().to_owned()
    }

    /// What is said at the one place that is wrong.
    async fn refuses(&self, more: Value, loc: &Value) -> String {
        let (status, body) = self.call(more.clone()).await;
        let problem = &body["detail"][0];
        assert_eq!((status, &problem["loc"]), (422, loc), "{more}");
        let said = problem["msg"].as_str().unwrap().to_owned();
        assert!(!said.contains(self.folder.path().to_str().unwrap()) || said.starts_with('/'), "{said}");
        said
    }
}

fn data(pixels: &Pixels) -> String {
    let picture = Picture::encode(pixels, ImageFormat::Png).unwrap();
    format!("data:image/png;base64,{}", STANDARD.encode(&picture.bytes))
}

fn write_lora(studio: &Studio, name: &str, variant: Variant) -> String {
    let set = loras::sets(variant).remove(0);
    // in the publisher's own names, which no two families share
    set.files["kohya"].write(&studio.folder.path().join(name), 1.0);
    studio.path(name)
}

#[tokio::test]
async fn every_kind_of_adapter_counts_alone_and_together() {
    let studio = Studio::new().await;
    let plain = studio.draws(json!({})).await;
    let path = write_lora(&studio, "a.safetensors", Variant::Sd35);
    let lora = studio.draws(json!({ "loras": [{ "path": path }] })).await;
    assert_ne!(lora, plain);
    let uri = STANDARD.encode(std::fs::read(&path).unwrap());
    let uri = format!("data:application/octet-stream;base64,{uri}");
    assert_eq!(studio.draws(json!({ "loras": [{ "path": uri }] })).await, lora, "from the input itself");
    let half =
        studio.draws(json!({ "loras": [{ "path": path, "scale": 0.25 }, { "path": path, "scale": 0.25 }] })).await;
    assert!(half != lora && half != plain, "scales count");

    adapters::write_controlnet(&studio.folder.path().join("net"));
    let net = json!({ "path": studio.path("net"), "control_image_url": data(&tiny::picture(96, 64)) });
    let controlled = studio.draws(json!({ "controlnet": net })).await;
    assert_ne!(controlled, plain);
    let mut weak = net.clone();
    weak["conditioning_scale"] = json!(0.0);
    assert_eq!(studio.draws(json!({ "controlnet": weak })).await, plain);

    adapters::write_ip_adapter(&studio.folder.path().join("ip"));
    adapters::write_image_encoder(&studio.folder.path().join("encoder"));
    let ip = json!({
        "path": studio.path("ip"), "image_encoder_path": studio.path("encoder"),
        "image_url": data(&adapters::followed()), "scale": 0.8,
    });
    let followed = studio.draws(json!({ "ip_adapter": ip })).await;
    assert_ne!(followed, plain);
    let masked = |pixels: Pixels| {
        let mut ip = ip.clone();
        ip["mask_image_url"] = json!(data(&pixels));
        json!({ "ip_adapter": ip })
    };
    let even = |value| Pixels { width: 8, height: 8, rgb: vec![value; 192] };
    assert_eq!(studio.draws(masked(even(255))).await, followed, "white: everywhere");
    assert_eq!(studio.draws(masked(even(0))).await, plain, "black: nowhere");

    let all = json!({ "loras": [{ "path": path }], "controlnet": net, "ip_adapter": ip });
    let all = studio.draws(all).await;
    assert!([&lora, &controlled, &followed, &plain].iter().all(|other| **other != all));
    assert_eq!(studio.draws(json!({})).await, plain, "the model itself is as it was");
}

/// Without `image_size` the result is as large as the control picture.
#[tokio::test]
async fn a_control_picture_gives_its_size() {
    let studio = Studio::new().await;
    adapters::write_controlnet(&studio.folder.path().join("net"));
    let net = json!({ "path": studio.path("net"), "control_image_url": data(&tiny::picture(80, 112)) });
    let (status, body) = studio.call(json!({ "controlnet": net, "image_size": null })).await;
    assert_eq!((status, &body["images"][0]["width"], &body["images"][0]["height"]), (200, &json!(80), &json!(112)));
}

#[tokio::test]
async fn whatever_is_wrong_with_an_adapter_is_its_callers_and_the_worker_lives() {
    let studio = Studio::new().await;
    let plain = studio.draws(json!({})).await;
    let write = |name: &str, bytes: &[u8]| std::fs::write(studio.folder.path().join(name), bytes).unwrap();
    let at_lora = json!(["body", "loras", 0, "path"]);
    let lora = |path: String| json!({ "loras": [{ "path": path }] });

    let good = std::fs::read(write_lora(&studio, "good.safetensors", Variant::Sd35)).unwrap();
    write("cut.safetensors", &good[..good.len() - 7]);
    write("text.safetensors", b"{\"not\": \"tensors\"}");
    write("empty.safetensors", b"");
    write("boast.safetensors", &[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    write_lora(&studio, "flux.safetensors", Variant::Dev);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("a.safetensors"), &good).unwrap();
    let outside = other.path().join("a.safetensors").to_str().unwrap().to_owned();
    for (path, word) in [
        (studio.path("cut.safetensors"), "damaged"),
        (studio.path("text.safetensors"), "safetensors"),
        (studio.path("empty.safetensors"), "damaged"),
        (studio.path("boast.safetensors"), "damaged"),
        (studio.path("flux.safetensors"), "FLUX"),
        (outside, "[adapters] folders"),
        (studio.path("../a.safetensors"), "[adapters] folders"),
    ] {
        let said = studio.refuses(lora(path.clone()), &at_lora).await;
        assert!(said.contains(word), "{path}: {said}");
    }

    let picture = data(&tiny::picture(96, 64));
    let net = json!({ "controlnet": { "path": studio.path("good.safetensors"), "control_image_url": picture } });
    studio.refuses(net, &json!(["body", "controlnet", "path"])).await;
    adapters::write_ip_adapter(&studio.folder.path().join("ip"));
    let ip = |path: String, encoder: String| json!({ "ip_adapter": { "path": path, "image_encoder_path": encoder, "image_url": picture, "scale": 1.0 } });
    let clip = clip_of(studio.folder.path());
    let said = studio.refuses(ip(studio.path("ip"), clip), &json!(["body", "ip_adapter", "image_encoder_path"])).await;
    assert!(said.contains("google/siglip-so400m-patch14-384"), "{said}");
    write("bad.bin", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.");
    studio.refuses(ip(studio.path("bad.bin"), studio.path("ip")), &json!(["body", "ip_adapter", "path"])).await;

    assert_eq!(studio.draws(json!({})).await, plain, "the worker lives, and so does the model");
}

/// An image encoder of another kind: a CLIP vision tower, as far as its names tell.
fn clip_of(folder: &Path) -> String {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let tensors = adapters::Tensors::from([
        ("vision_model.embeddings.class_embedding".to_owned(), ones(&[8])),
        ("vision_model.embeddings.patch_embedding.weight".to_owned(), ones(&[8, 3, 2, 2])),
    ]);
    let files = adapters::write_files(folder, "clip.safetensors", &tensors, None, None);
    files.weights[0].to_str().unwrap().to_owned()
}
