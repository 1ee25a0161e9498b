//! Adapters that come with a call over HTTP, to a runner that says what it was given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "common/far.rs"]
#[allow(dead_code, reason = "each test file uses its part of this")]
mod far;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use far::{hub, weights};
use reqwest::Method;
use scumble_api::{ImageFormat, Input, Problem};
use scumble_engine::Pixels;
use scumble_store::{Access, Decision, FileRecord};
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::runner::{Drawn, Request, RunError, Runner, Watch};
use scumble_worker::{Adapters, AdaptersConfig, Hub, Models, Picture};
use serde_json::{Value, json};

const FLUX: &str = "fal-ai/flux-lora";

/// Sends its input elsewhere: tells what stands in its first LoRA.
struct Sender;

#[async_trait::async_trait]
impl Runner for Sender {
    async fn run(&self, request: Request, _: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let pixels = Pixels { width: 1, height: 1, rgb: vec![1; 3] };
        let picture = Picture::encode(&pixels, ImageFormat::Png).unwrap();
        let path = request.values["loras"][0]["path"].as_str().unwrap().to_owned();
        Ok(Drawn { pictures: vec![picture], prompt: Some(path), ..Drawn::default() })
    }
}

#[tokio::test]
async fn whoever_sends_an_input_elsewhere_has_the_data_as_it_came() {
    let runner: Arc<dyn Runner> = Arc::new(Sender);
    let server = TestServer::answering(Setup::default(), Models::with(HashMap::from([(FLUX, runner)]))).await;
    let uri = format!("data:application/octet-stream;base64,{}", STANDARD.encode(weights(7)));
    let body = json!({ "prompt": "x", "loras": [{ "path": uri }] });
    let answer = server.request(Method::POST, &format!("/run/{FLUX}")).json(&body).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["prompt"], uri);
}

/// Tells the last byte of every adapter; does not follow guidance of exactly 1.
struct Teller;

#[async_trait::async_trait]
impl Runner for Teller {
    fn loads_adapters(&self) -> bool {
        true
    }

    fn refuses(&self, input: &Input) -> Vec<Problem> {
        let refused = input.request().guidance == Some(1.0);
        refused.then(|| Problem::new(&["guidance_scale"], "value_error", "not here")).into_iter().collect()
    }

    async fn run(&self, request: Request, _: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let last = |path: &std::path::PathBuf| std::fs::read(path).unwrap().last().copied().unwrap().to_string();
        let told: Vec<String> = request.adapters.iter().flat_map(|one| one.files.weights.iter().map(last)).collect();
        let pixels = Pixels { width: 1, height: 1, rgb: vec![1; 3] };
        let picture = Picture::encode(&pixels, ImageFormat::Png).unwrap();
        Ok(Drawn { pictures: vec![picture], prompt: Some(told.join(" ")), ..Drawn::default() })
    }
}

#[tokio::test]
async fn adapters_are_here_before_the_run_and_their_failure_is_the_callers() {
    let far = hub(&[("a.safetensors", weights(3))]).await;
    let mut setup = Setup::default();
    setup.worker.adapters = Adapters::new(AdaptersConfig {
        cache: Some(setup.folder.path().join("adapters")),
        hub: Hub::new(&far.url, None).unwrap(),
        allow_private: true,
        free_bytes: 1,
        ..AdaptersConfig::default()
    });
    let folder = setup.folder.path();
    let runner: Arc<dyn Runner> = Arc::new(Teller);
    let server = TestServer::answering(setup, Models::with(HashMap::from([(FLUX, runner)]))).await;
    let call = async |more: Value| {
        let mut body = json!({ "prompt": "x", "seed": 1 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = server.request(Method::POST, &format!("/run/{FLUX}")).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let uri = format!("data:application/octet-stream;base64,{}", STANDARD.encode(weights(7)));
    let (status, body) = call(json!({ "loras": [{ "path": "owner/name" }, { "path": uri }] })).await;
    assert_eq!((status, &body["prompt"]), (200, &json!("3 7")), "{body}");

    for (path, word) in [("owner/gone", "HF_TOKEN"), ("/etc/passwd", "[adapters] folders"), ("a.ckpt", ".ckpt")] {
        let (status, body) = call(json!({ "loras": [{ "path": "owner/name" }, { "path": path }] })).await;
        let problem = &body["detail"][0];
        assert_eq!((status, &problem["loc"]), (422, &json!(["body", "loras", 1, "path"])), "{body}");
        let said = problem["msg"].as_str().unwrap();
        assert!(said.contains(word) && !said.contains(folder.to_str().unwrap()), "{said}");
    }
    // a file of this server, whatever host its URL names, is read without HTTP
    let files = scumble_files::Files::open(folder.join("files").to_str().unwrap()).unwrap();
    let stored = files.put(weights(9).into(), "application/octet-stream", "a.safetensors").await.unwrap();
    let row = FileRecord {
        path: stored.path.to_string(),
        job_id: None,
        content_type: stored.content_type,
        bytes: i64::try_from(stored.bytes).unwrap(),
        created_ms: 0,
        expires_ms: None,
        owner: None,
        access: Access { default: Decision::Allow, rules: Vec::new() },
    };
    server.store.put_file(row).await.unwrap();
    let (status, body) =
        call(json!({ "loras": [{ "path": format!("https://gone.test/files/{}", stored.path) }] })).await;
    assert_eq!((status, &body["prompt"]), (200, &json!("9")), "{body}");
    let asked = far.heard().len();
    let (status, body) = call(json!({ "guidance_scale": 1, "loras": [{ "path": "owner/another" }] })).await;
    assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["body", "guidance_scale"])));
    assert_eq!(far.heard().len(), asked, "what cannot be followed is refused before anything is fetched");
    let (status, body) = call(json!({ "loras": [{ "path": "owner/name" }] })).await;
    assert_eq!((status, &body["prompt"]), (200, &json!("3")), "the worker lives");
}

/// A server with one place, whose callers name files of a host that never sends all of them.
async fn with_one_place(far: &far::Far) -> TestServer {
    let mut setup = Setup::default();
    setup.worker.concurrency = 1;
    setup.worker.adapters = Adapters::new(AdaptersConfig {
        cache: Some(setup.folder.path().join("adapters")),
        hub: Hub::new(&far.url, None).unwrap(),
        allow_private: true,
        free_bytes: 1,
        ..AdaptersConfig::default()
    });
    let runner: Arc<dyn Runner> = Arc::new(Teller);
    TestServer::answering(setup, Models::with(HashMap::from([(FLUX, runner.clone()), (PLAIN, runner)]))).await
}

const PLAIN: &str = "fal-ai/flux/dev";

async fn send_away(server: &TestServer, far: &far::Far, key: Option<&str>, jobs: std::ops::Range<usize>) {
    for job in jobs {
        let path = format!("{}/{job}.safetensors", far.url);
        let sent = server.request(Method::POST, &format!("/queue/{FLUX}"));
        let sent = key.into_iter().fold(sent, |sent, key| sent.header("authorization", format!("Key {key}")));
        let answer = sent.json(&json!({ "prompt": "x", "loras": [{ "path": path }] })).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

async fn draws(server: &TestServer, endpoint: &str, key: Option<&str>) {
    let call = server.request(Method::POST, &format!("/run/{endpoint}")).json(&json!({ "prompt": "x" }));
    let call = key.into_iter().fold(call, |call, key| call.header("authorization", format!("Key {key}")));
    let answer = call.timeout(std::time::Duration::from_secs(20)).send().await.expect("an answer in time");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn callers_without_keys_who_wait_for_files_keep_nobody_from_drawing() {
    let far = far::Far::slow(weights(1)).await;
    let server = with_one_place(&far).await;
    send_away(&server, &far, None, 0..80).await;
    far.begun(32).await;
    // the others are in line and hold no place
    draws(&server, PLAIN, None).await;
    draws(&server, FLUX, None).await;
    // more than may be in line
    send_away(&server, &far, None, 80..300).await;
    draws(&server, PLAIN, None).await;
    assert_eq!(far.heard().len(), 32, "as many as their share");
    far.go();
    far.begun(300).await;
}

#[tokio::test]
async fn a_room_full_of_files_on_their_way_keeps_nobody_from_drawing() {
    let far = far::Far::slow(weights(1)).await;
    let server = with_one_place(&far).await;
    for caller in 0..6 {
        let key = server.key().await;
        send_away(&server, &far, Some(&key), caller * 80..caller * 80 + 80).await;
    }
    // 16 of each, or fewer where more callers have come by then, and never all of the room
    far.begun(50).await;
    let other = server.key().await;
    draws(&server, PLAIN, Some(&other)).await;
    draws(&server, FLUX, Some(&other)).await;
    send_away(&server, &far, Some(&other), 1000..1001).await;
    // who comes late has a turn
    let turn = async {
        let mut heard = far.heard();
        while !heard.iter().any(|(path, _)| path == "/1000.safetensors") {
            far.begun(heard.len() + 1).await;
            heard = far.heard();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), turn).await.unwrap();
    assert!(far.heard().len() < 64, "{} at once", far.heard().len());
}
