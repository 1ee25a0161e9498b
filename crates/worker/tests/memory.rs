//! Models within a budget of memory: two that do not fit together, several devices, models that are loaded early and let go.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use common::until;
use reqwest::Method;
use scumble_api::{Endpoint, Scope, find};
use scumble_engine::families::{Footprint, footprint};
use scumble_engine::weights::{Checkpoint, Precision, Source};
use scumble_engine::{DType, Device, Pixels, Stage};
use scumble_testkit::server::{Setup, TestServer};
use scumble_testkit::tiny::{self, Variant};
use scumble_worker::runner::{Request, RunError, Watch};
use scumble_worker::{ModelConfig, Models, ModelsConfig};
use serde_json::{Value, json};

const FLUX: &str = "fal-ai/flux/schnell";
const SD35: &str = "fal-ai/stable-diffusion-v35-large";

/// Two models of different families in a folder.
struct Pair {
    flux: tempfile::TempDir,
    sd35: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        Self { flux: tiny::of(Variant::Schnell).tempdir(), sd35: tiny::of(Variant::Sd35).tempdir() }
    }

    fn config(&self) -> ModelsConfig {
        let own = |folder: &Path| ModelConfig { weights: Some(folder.to_owned()), ..ModelConfig::default() };
        let models = [(FLUX, self.flux.path()), (SD35, self.sd35.path())];
        let models = models.into_iter().map(|(id, folder)| (id.to_owned(), own(folder))).collect::<HashMap<_, _>>();
        ModelsConfig { models, ..ModelsConfig::default() }
    }

    /// What the larger one needs, so that no other fits beside it.
    fn memory_for_one(&self) -> u64 {
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

fn body(endpoint: &str, seed: usize) -> Value {
    let steps = if endpoint == FLUX { 1 } else { 2 };
    json!({ "prompt": "a fox", "seed": seed, "image_size": { "width": 64, "height": 64 }, "num_inference_steps": steps,
            "sync_mode": true })
}

async fn draw(server: &TestServer, endpoint: &str, seed: usize) -> String {
    let sent = server.request(Method::POST, &format!("/run/{endpoint}")).json(&body(endpoint, seed));
    let answer = sent.send().await.unwrap().json::<Value>().await.unwrap();
    answer["images"][0]["url"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// What this process holds that no file backs, in KiB.
fn held() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    of("VmRSS:") - of("RssFile:")
}

#[tokio::test]
async fn two_models_that_do_not_fit_together_take_turns() {
    let pair = Pair::new();
    let roomy = TestServer::answering(Setup::default(), Models::new(&pair.config()).unwrap()).await;
    let expected = [draw(&roomy, FLUX, 7).await, draw(&roomy, SD35, 7).await];
    let config = ModelsConfig { memory: Some(pair.memory_for_one()), ..pair.config() };
    let server = TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await;
    let turn = async || [draw(&server, FLUX, 7).await, draw(&server, SD35, 7).await];
    assert_eq!(turn().await, expected);
    let before = held();
    for round in 0..24 {
        assert_eq!(turn().await, expected);
        // somebody asks and goes away
        let sent = server.request(Method::POST, &format!("/queue/{SD35}")).json(&body(SD35, round));
        let sent: Value = sent.send().await.unwrap().json().await.unwrap();
        let cancel = format!("/queue/{SD35}/requests/{}/cancel", sent["request_id"].as_str().unwrap());
        server.request(Method::PUT, &cancel).send().await.unwrap();
    }
    let grown = held().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB more after 48 loads");
}

#[tokio::test]
async fn each_device_has_a_lane_and_the_pictures_are_the_same_in_all() {
    let pair = Pair::new();
    let config = ModelsConfig { devices: vec!["cpu".to_owned(), "cpu".to_owned()], ..pair.config() };
    let server = TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await;
    let (a, b, c) = tokio::join!(draw(&server, FLUX, 7), draw(&server, FLUX, 7), draw(&server, SD35, 7));
    assert_eq!(a, b);
    assert_eq!((draw(&server, FLUX, 7).await, draw(&server, SD35, 7).await), (a, c));
    until("it says what it computes on", async || {
        let workers = server.store.workers(0).await.unwrap();
        workers.iter().any(|worker| worker.about["device"] == "cpu, cpu" && worker.about["slots"] == 2)
    })
    .await;
}

/// Remembers the stages of a job.
#[derive(Default)]
struct Ear {
    stages: Mutex<Vec<Stage>>,
}

impl Watch for Ear {
    fn stage(&self, stage: Stage) {
        self.stages.lock().unwrap().push(stage);
    }
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Whether a job had to wait until its model was loaded.
async fn loads(models: &Models, endpoint: &'static Endpoint) -> Result<bool, RunError> {
    let input = endpoint.parse(&body(endpoint.id, 7), Scope::Wire).unwrap();
    let ear = Arc::new(Ear::default());
    models.runner(endpoint).run(Request::new(&input, Vec::new(), 7, 1), ear.clone()).await?;
    let stages = ear.stages.lock().unwrap();
    Ok(stages.contains(&Stage::Load))
}

#[tokio::test]
async fn what_was_loaded_early_is_there_and_its_failure_is_told() {
    let pair = Pair::new();
    let flux = find(FLUX).unwrap();
    let models = Models::new(&pair.config()).unwrap();
    assert!(loads(&models, flux).await.unwrap() && !loads(&models, flux).await.unwrap());
    let models = Models::new(&ModelsConfig { preload: vec![FLUX.to_owned()], ..pair.config() }).unwrap();
    assert!(matches!(models.runner(flux).preload(flux, &Ear::default()), Some(Ok(()))));
    assert!(!loads(&models, flux).await.unwrap());
    std::fs::remove_dir_all(pair.sd35.path().join("vae")).unwrap();
    let sd35 = find(SD35).unwrap();
    let failed = models.runner(sd35).preload(sd35, &Ear::default());
    assert!(matches!(&failed, Some(Err(RunError::Unavailable(said))) if said.contains("vae")), "{failed:?}");
    assert!(!loads(&models, flux).await.unwrap());
    for (id, said) in [("fal-ai/flux/dev", "no weights here"), ("nobody/nothing", "no endpoint")] {
        let wrong = Models::new(&ModelsConfig { preload: vec![id.to_owned()], ..pair.config() });
        assert!(wrong.err().unwrap().contains(said), "{id}");
    }
}

#[tokio::test]
async fn a_model_that_cannot_fit_says_what_would_and_idle_ones_go() {
    let pair = Pair::new();
    let flux = find(FLUX).unwrap();
    let small = ModelsConfig { memory: Some(10_000), ..pair.config() };
    let said = loads(&Models::new(&small).unwrap(), flux).await.unwrap_err().to_string();
    assert!(said.contains("MB of memory") && said.contains("[worker] memory"), "{said}");
    let config =
        ModelsConfig { keep_alive: Some(Duration::from_millis(1)), preload: vec![FLUX.to_owned()], ..pair.config() };
    let models = Arc::new(Models::new(&config).unwrap());
    assert!(loads(&models, flux).await.unwrap());
    let server = TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await;
    // a job between two looks finds its model or loads it again, and nobody notices
    let first = draw(&server, FLUX, 7).await;
    for _ in 0..5 {
        assert_eq!(draw(&server, FLUX, 7).await, first);
    }
}
