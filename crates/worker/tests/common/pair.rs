//! Two models of different families, and calls of them.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part of this")]

use std::collections::HashMap;
use std::path::Path;

use reqwest::Method;
use scumble_engine::families::{Footprint, footprint};
use scumble_engine::weights::{Checkpoint, Precision, Source};
use scumble_engine::{DType, Device, Tensor};
use scumble_testkit::server::TestServer;
use scumble_testkit::tiny::{self, Variant, files};
use scumble_worker::{ModelConfig, ModelsConfig};
use serde_json::{Value, json};

pub(crate) const FLUX: &str = "fal-ai/flux/schnell";
pub(crate) const SD35: &str = "fal-ai/stable-diffusion-v35-large";

/// Two models of different families in a folder.
pub(crate) struct Pair {
    pub(crate) flux: tempfile::TempDir,
    pub(crate) sd35: tempfile::TempDir,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self { flux: tiny::of(Variant::Schnell).tempdir(), sd35: tiny::of(Variant::Sd35).tempdir() }
    }

    /// Tables of some 80 MB, of words in the one and of positions in the other. What is so large goes back to the system when it
    /// is freed: what this process holds is then what it uses.
    pub(crate) fn large() -> Self {
        const WORDS: usize = 20_000_000;
        let (flux, folder) = (tiny::of(Variant::Schnell).tempdir(), "text_encoder_2");
        let mut tensors = files::load(flux.path(), folder);
        let words = tensors["shared.weight"].clone();
        let wide = words.dim(1).unwrap();
        let more = Tensor::zeros((WORDS / wide, wide), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("shared.weight".into(), Tensor::cat(&[words, more], 0).unwrap());
        let config = flux.path().join(folder).join("config.json");
        let mut said: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        said["vocab_size"] = tensors["shared.weight"].dim(0).unwrap().into();
        std::fs::write(config, said.to_string()).unwrap();
        files::replace(flux.path(), folder, &tensors);
        Self { flux, sd35: tiny::of(Variant::Sd35).side(560).tempdir() }
    }

    pub(crate) fn config(&self) -> ModelsConfig {
        let own = |folder: &Path| ModelConfig { weights: Some(folder.to_owned()), ..ModelConfig::default() };
        let models = [(FLUX, self.flux.path()), (SD35, self.sd35.path())];
        let models = models.into_iter().map(|(id, folder)| (id.to_owned(), own(folder))).collect::<HashMap<_, _>>();
        ModelsConfig { models, ..ModelsConfig::default() }
    }

    /// What the larger one needs, so that no other fits beside it.
    pub(crate) fn memory_for_one(&self) -> u64 {
        let bytes = |folder: &Path| {
            let checkpoint = Checkpoint::open(Source::Folder(folder.to_owned())).unwrap();
            let wide = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
            let Footprint { bytes, .. } = footprint(&checkpoint, &wide).unwrap();
            bytes
        };
        // 85 % of it are for weights
        bytes(self.flux.path()).max(bytes(self.sd35.path())) * 100 / 85 + 200
    }
}

pub(crate) fn body(endpoint: &str, seed: usize) -> Value {
    let steps = if endpoint == FLUX { 1 } else { 2 };
    json!({ "prompt": format!("{seed} foxes"), "seed": seed, "image_size": { "width": 64, "height": 64 }, "num_inference_steps": steps,
            "sync_mode": true })
}

pub(crate) async fn answer(server: &TestServer, endpoint: &str, seed: usize) -> Value {
    let sent = server.request(Method::POST, &format!("/run/{endpoint}")).json(&body(endpoint, seed));
    sent.send().await.unwrap().json().await.unwrap()
}

pub(crate) fn picture(answer: &Value) -> String {
    answer["images"][0]["url"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

pub(crate) async fn draw(server: &TestServer, endpoint: &str, seed: usize) -> String {
    picture(&answer(server, endpoint, seed).await)
}
