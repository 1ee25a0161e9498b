//! Models within a budget of memory: two that do not fit together, several devices, models that are loaded early and let go.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;
#[path = "common/pair.rs"]
mod pair;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::until;
use pair::{FLUX, Pair, SD35, body, draw};
use reqwest::Method;
use scumble_api::{Endpoint, Scope, find};
use scumble_engine::{Pixels, Stage};
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::runner::{Request, RunError, Watch};
use scumble_worker::{Models, ModelsConfig};
use serde_json::{Value, json};

/// What would end the process is refused before it is drawn, and the same model draws what fits.
#[tokio::test]
async fn pictures_that_cannot_fit_beside_their_model_are_refused() {
    let pair = Pair::new();
    let config = ModelsConfig { memory: Some(pair.memory_for_one() + 4_000_000), ..pair.config() };
    let server = TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await;
    let small = draw(&server, FLUX, 7).await;
    let sized = |side: u32, images: u32| {
        let mut body = body(FLUX, 7);
        (body["image_size"], body["num_images"]) = (json!({ "width": side, "height": side }), images.into());
        body
    };
    for body in [sized(1024, 1), sized(512, 4)] {
        let sent = server.request(Method::POST, &format!("/run/{FLUX}")).json(&body).send().await.unwrap();
        let (status, again) = (sent.status(), sent.headers()["x-fal-needs-retry"].clone());
        let answer: Value = sent.json().await.unwrap();
        assert_eq!((status.as_u16(), again.to_str().unwrap()), (400, "0"), "{answer}");
        let said = answer["detail"].as_str().unwrap();
        for part in
            ["of memory beside the", "models may take", "smaller pictures, or for fewer at once", "[worker] memory"]
        {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        assert_eq!(draw(&server, FLUX, 7).await, small, "the worker goes on");
    }
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
