//! Checkers that look at finished pictures: what becomes of those they flag, and that nobody claims that one has looked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use scumble_api::{Scope, find};
use scumble_engine::checkers::{Checker, CheckerKind};
use scumble_engine::families::{Context, footprint};
use scumble_engine::weights::{Checkpoint, Precision, Source};
use scumble_engine::{DType, Device, Pixels, Stage, Tensor, Trace, Unobserved};
use scumble_testkit::server::{Setup, TestServer};
use scumble_testkit::tiny::adapters::Tensors;
use scumble_testkit::tiny::{self, Variant, checkers};
use scumble_worker::runner::{Drawn, Flagged, Local, Model, Request, RunError, SafetyConfig, Watch};
use scumble_worker::{ModelConfig, Models, ModelsConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

const SCHNELL: &str = "fal-ai/flux/schnell";
const LOADED: &str = "the safety checker is loaded";

fn safety(folder: &Path, flagged: Flagged) -> Option<Arc<SafetyConfig>> {
    Some(Arc::new(SafetyConfig { checker: CheckerKind::CompVis, weights: folder.into(), flagged }))
}

async fn server(weights: &Path, safety: Option<Arc<SafetyConfig>>, memory: Option<u64>) -> TestServer {
    let own = ModelConfig { weights: Some(weights.into()), ..ModelConfig::default() };
    let models = HashMap::from([(SCHNELL.to_owned(), own)]);
    let config = ModelsConfig { models, safety, memory, ..ModelsConfig::default() };
    TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await
}

fn input(more: &Value) -> Value {
    let mut body = json!({
        "prompt": "a cat", "seed": 7, "num_inference_steps": 1, "num_images": 2, "sync_mode": true,
        "output_format": "png", "image_size": { "width": 96, "height": 64 },
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn call(server: &TestServer, more: Value) -> (u16, Value) {
    let answer = server.request(Method::POST, &format!("/run/{SCHNELL}")).json(&input(&more)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The lines of a queued run.
async fn log(server: &TestServer, more: Value) -> Vec<String> {
    let sent = server.request(Method::POST, &format!("/queue/{SCHNELL}")).json(&input(&more)).send().await.unwrap();
    let status = server.ended(&sent.json().await.unwrap()).await;
    status["logs"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

fn pictures(body: &Value) -> Vec<Pixels> {
    let decoded = |image: &Value| {
        let (_, data) = image["url"].as_str().unwrap().split_once(',').unwrap();
        let image = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().into_rgb8();
        Pixels { width: image.width() as usize, height: image.height() as usize, rgb: image.into_raw() }
    };
    body["images"].as_array().unwrap().iter().map(decoded).collect()
}

/// How near a picture is to each concept.
fn cosines(checker: &Checker, picture: &Pixels) -> Vec<f32> {
    let trace = Trace::new();
    checker.flags(picture, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
    trace.into_tensors()["concept_cosines"].flatten_all().unwrap().to_vec1().unwrap()
}

/// A checker that flags the first of two pictures and not the second.
fn telling(first: &Pixels, second: &Pixels) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = checkers::with_threshold(2.0);
    let never = Tensor::full(2f32, 3, &Device::Cpu).unwrap();
    tensors.insert("special_care_embeds_weights".into(), never);
    let write = |tensors: &Tensors| {
        checkers::write_with(CheckerKind::CompVis, folder.path(), "model.safetensors", tensors);
        Checker::open(CheckerKind::CompVis, folder.path(), &Device::Cpu, None).unwrap()
    };
    let checker = write(&tensors);
    let (near, far) = (cosines(&checker, first), cosines(&checker, second));
    let apart = |i: &usize| near[*i] - far[*i];
    let concept = (0..near.len()).max_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap();
    assert!(apart(&concept) > 0.004, "they can be told apart");
    let mut thresholds = vec![2f32; near.len()];
    thresholds[concept] = (near[concept] + far[concept]) / 2.0;
    tensors.insert("concept_embeds_weights".into(), Tensor::new(thresholds, &Device::Cpu).unwrap());
    write(&tensors);
    folder
}

#[tokio::test]
async fn a_flagged_picture_is_what_the_owner_makes_of_it() {
    let weights = tiny::of(Variant::Schnell).tempdir();
    let without = server(weights.path(), None, None).await;
    let (status, plain) = call(&without, json!({})).await;
    assert_eq!((status, &plain["has_nsfw_concepts"]), (200, &json!([false, false])), "{plain}");
    assert_eq!(plain["timings"].get("check"), None);
    let said = log(&without, json!({})).await;
    assert_eq!(said.iter().filter(|line| line.contains("no checker")).count(), 1, "{said:?}");
    let drawn = pictures(&plain);
    let checker = telling(&drawn[0], &drawn[1]);
    let black = Pixels { rgb: vec![0; drawn[0].rgb.len()], ..drawn[0].clone() };

    let flagging = server(weights.path(), safety(checker.path(), Flagged::Flag), None).await;
    let (status, body) = call(&flagging, json!({})).await;
    assert_eq!((status, &body["has_nsfw_concepts"]), (200, &json!([true, false])), "{body}");
    assert_eq!(pictures(&body), drawn);
    assert!(body["timings"]["check"].as_f64().unwrap() > 0.0, "{body}");
    let said = log(&flagging, json!({})).await;
    assert!(said.iter().any(|line| line.contains("(compvis): 1 of 2 pictures flagged")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("no checker") || line.contains(LOADED)), "it stays loaded: {said:?}");
    // who switches it off is not told that anybody has looked
    let (_, body) = call(&flagging, json!({ "enable_safety_checker": false })).await;
    assert_eq!((&body["has_nsfw_concepts"], body["timings"].get("check")), (&json!([false, false]), None));
    assert_eq!(pictures(&body), drawn);
    let said = log(&flagging, json!({ "enable_safety_checker": false })).await;
    assert!(!said.iter().any(|line| line.contains("checker")), "{said:?}");

    let blackening = server(weights.path(), safety(checker.path(), Flagged::Black), None).await;
    let (status, body) = call(&blackening, json!({})).await;
    assert_eq!((status, &body["has_nsfw_concepts"]), (200, &json!([true, false])), "{body}");
    assert_eq!(pictures(&body), [black, drawn[1].clone()]);

    let refusing = server(weights.path(), safety(checker.path(), Flagged::Refuse), None).await;
    let (status, body) = call(&refusing, json!({})).await;
    let problem = &body["detail"][0];
    assert_eq!(
        (status, &problem["type"], &problem["loc"]),
        (422, &json!("content_policy_violation"), &json!(["body", "prompt"]))
    );
    assert!(body.get("images").is_none(), "{body}");
    // the second picture alone is nobody's trouble
    let harmless = json!({ "num_images": 1, "prompt": "a cat", "enable_safety_checker": false });
    assert_eq!(call(&refusing, harmless).await.0, 200);
}

#[tokio::test]
async fn a_checker_that_fails_gives_nothing_out_and_one_that_is_mended_works() {
    let weights = tiny::of(Variant::Schnell).tempdir();
    let checker = tempfile::tempdir().unwrap();
    let server = server(weights.path(), safety(checker.path(), Flagged::Flag), None).await;
    let fails = async |why: &str| {
        let (status, body) = call(&server, json!({})).await;
        assert_eq!(status, 500, "{why}: {body}");
        let said = body.to_string();
        assert!(said.contains("safety checker") && !said.contains("images"), "{why}: {said}");
        assert!(!said.contains(checker.path().to_str().unwrap()), "{why}: {said}");
    };
    fails("it is not there").await;
    let path = checker.path().join("model.safetensors");
    checkers::write(CheckerKind::CompVis, checker.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
    fails("it was cut").await;
    let mut broken = checkers::with_threshold(2.0);
    let weights = broken["visual_projection.weight"].affine(0.0, f64::NAN).unwrap();
    broken.insert("visual_projection.weight".into(), weights);
    checkers::write_with(CheckerKind::CompVis, checker.path(), "model.safetensors", &broken);
    fails("it computes no numbers").await;
    fails("and computes none again").await;
    assert_eq!(
        call(&server, json!({ "enable_safety_checker": false })).await.0,
        200,
        "who does not ask is not held up"
    );
}

/// Room for the larger of the two and not for both: each goes for the other, and nobody waits for ever.
#[tokio::test]
async fn a_checker_takes_its_part_of_the_memory_for_models() {
    let weights = tiny::of(Variant::Schnell).tempdir();
    let checker = tempfile::tempdir().unwrap();
    checkers::write_with(CheckerKind::CompVis, checker.path(), "model.safetensors", &checkers::with_threshold(-2.0));
    let checkpoint = Checkpoint::open(Source::Folder(weights.path().into())).unwrap();
    let model = footprint(&checkpoint, &Precision { device: Device::Cpu, dtype: Some(DType::F32) }).unwrap().bytes;
    let needed = Checker::takes(checker.path()).unwrap();
    assert!(needed > 0 && needed < model);
    let narrow = (model + needed / 2) / 85 * 100 + 100;
    let server = server(weights.path(), safety(checker.path(), Flagged::Flag), Some(narrow)).await;
    // what is computed has to fit beside the model too
    let small = |seed: u64| json!({ "seed": seed, "image_size": { "width": 32, "height": 32 } });
    for _ in 0..2 {
        let (one, two) = tokio::join!(call(&server, small(7)), call(&server, small(8)));
        for (status, body) in [one, two] {
            assert_eq!((status, &body["has_nsfw_concepts"]), (200, &json!([true, true])), "{body}");
        }
    }
    let said = log(&server, small(7)).await;
    assert!(said.iter().any(|line| line.contains(LOADED)), "it had gone for the model: {said:?}");
}

/// Hears lines and previews; stops a run at a line.
#[derive(Default)]
struct Ear {
    lines: Mutex<Vec<String>>,
    previews: Mutex<Vec<bool>>,
    stops_at: Option<&'static str>,
}

impl Watch for Ear {
    fn stage(&self, _: Stage) {}
    fn step(&self, _: usize, _: usize, preview: &dyn Fn() -> Option<Pixels>) {
        self.previews.lock().unwrap().push(preview().is_some());
    }
    fn log(&self, message: &str) {
        self.lines.lock().unwrap().push(message.to_owned());
    }
    fn cancelled(&self) -> bool {
        self.stops_at.is_some_and(|at| self.lines.lock().unwrap().iter().any(|line| line.contains(at)))
    }
}

fn local(weights: &Path, safety: Option<Arc<SafetyConfig>>) -> Local {
    let precision = Precision { device: Device::Cpu, dtype: None };
    Local::new(Model { source: Source::Folder(weights.into()), precision }).checked_by(safety)
}

fn draw(local: &Local, endpoint: &str, body: &Value, ear: &Ear) -> Result<Drawn, RunError> {
    let input = find(endpoint).unwrap().parse(body, Scope::Wire).unwrap();
    local.draw(&Request::new(&input, Vec::new(), 7, 1), ear, None)
}

#[test]
fn nobody_sees_on_the_way_what_they_may_not_see_in_the_end() {
    let weights = tiny::of(Variant::Schnell).tempdir();
    let checker = tempfile::tempdir().unwrap();
    checkers::write_with(CheckerKind::CompVis, checker.path(), "model.safetensors", &checkers::with_threshold(2.0));
    for (flagged, asked, shown) in [
        (Flagged::Flag, true, true),
        (Flagged::Black, true, false),
        (Flagged::Refuse, true, false),
        (Flagged::Refuse, false, true),
    ] {
        let (local, ear) = (local(weights.path(), safety(checker.path(), flagged)), Ear::default());
        let drawn = draw(&local, SCHNELL, &input(&json!({ "enable_safety_checker": asked })), &ear).unwrap();
        assert_eq!(drawn.flags, asked.then(|| vec![false, false]));
        assert_eq!(*ear.previews.lock().unwrap(), [shown], "{flagged:?} {asked}");
    }
}

#[test]
fn a_run_is_cancelled_while_it_is_looked_at_and_the_next_one_is_not() {
    let weights = tiny::of(Variant::Schnell).tempdir();
    let checker = tempfile::tempdir().unwrap();
    checkers::write_with(CheckerKind::CompVis, checker.path(), "model.safetensors", &checkers::with_threshold(2.0));
    let local = local(weights.path(), safety(checker.path(), Flagged::Flag));
    let stopped = draw(&local, SCHNELL, &input(&json!({})), &Ear { stops_at: Some(LOADED), ..Ear::default() });
    assert!(matches!(stopped, Err(RunError::Cancelled)), "{stopped:?}");
    let ear = Ear::default();
    assert_eq!(draw(&local, SCHNELL, &input(&json!({})), &ear).unwrap().flags, Some(vec![false, false]));
    let said = ear.lines.lock().unwrap().join("\n");
    assert!(said.contains("none of 2 pictures is flagged"), "{said}");
}

/// Endpoints that have no such switch are as fal's are: nobody looks, and nobody says so.
#[test]
fn only_endpoints_with_the_switch_are_looked_at() {
    let weights = tiny::of(Variant::AuraFlow).tempdir();
    let local = local(weights.path(), safety(Path::new("nowhere"), Flagged::Refuse));
    let size = json!({ "width": 64, "height": 48 });
    let body = json!({ "prompt": "a cat", "num_inference_steps": 20, "image_size": size, "max_sequence_length": 48 });
    let input = find("fal-ai/aura-flow").unwrap().parse(&body, Scope::Local).unwrap();
    let drawn = local.draw(&Request::new(&input, Vec::new(), 7, 1), &Ear::default(), None).unwrap();
    assert_eq!((drawn.flags, drawn.pictures.len()), (None, 1));
}
