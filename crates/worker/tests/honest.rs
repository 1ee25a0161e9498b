//! What documents and logs say of this very installation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::time::Duration;

use reqwest::Method;
use scumble_api::{ENDPOINTS, Standing};
use scumble_testkit::runner::{FakeRunner, starter};
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::{Models, ModelsConfig};
use serde_json::{Value, json};

async fn text(server: &TestServer, path: &str) -> String {
    let answer = server.request(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

async fn json(server: &TestServer, path: &str) -> Value {
    serde_json::from_str(&text(server, path).await).unwrap()
}

/// Until a worker has said what it answers, which it does in its own time.
async fn announced(server: &TestServer) {
    let there = async {
        while text(server, "/llms.txt").await.contains("No worker") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.expect("a worker");
}

#[tokio::test]
async fn documents_say_what_answers_each_endpoint_here() {
    let models = || Models::new(&ModelsConfig::default()).unwrap();
    let server = TestServer::answering(Setup::default(), models()).await;
    announced(&server).await;
    let (overview, catalogue) = (text(&server, "/llms.txt").await, json(&server, "/v1/models?limit=100").await);
    for (endpoint, entry) in ENDPOINTS.iter().zip(catalogue["models"].as_array().unwrap()) {
        let standing = Standing::of(endpoint, Some(&models().answers(endpoint)));
        let line = overview.lines().find(|line| line.contains(&format!("/models/{}/llms.txt)", endpoint.id))).unwrap();
        assert!(line.ends_with(&format!("**{}.**", standing.label)), "{line}");
        let page = text(&server, &format!("/models/{}/llms.txt", endpoint.id)).await;
        assert!(page.contains(&format!("**On this server**: {}. {}", standing.label, standing.text)), "{page}");
        let told = &entry["metadata"]["x-scumble-standing"];
        assert_eq!((&told["word"], &told["text"]), (&json!(standing.word), &json!(standing.text)), "{}", endpoint.id);
        // fal's own word for it stays one of fal's two
        assert_eq!(entry["metadata"]["status"], "active");
    }
    assert!(overview.contains("**Needs weights.**") && overview.contains("**Needs a key.**"), "{overview}");
}

#[tokio::test]
async fn the_whole_server_is_described_at_the_address_that_the_caller_used() {
    let server = TestServer::new(&FakeRunner::free()).await;
    server.key().await;
    let document = json(&server, "/openapi.json").await;
    assert_eq!(document["servers"], json!([{ "url": server.url }]));
    for endpoint in ENDPOINTS {
        assert!(document["paths"][format!("/queue/{}", endpoint.id)]["post"].is_object(), "{}", endpoint.id);
    }
}

async fn logs(server: &TestServer, endpoint: &str, input: &Value) -> Vec<(String, String)> {
    let sent = server.request(Method::POST, &format!("/queue/{endpoint}")).json(input).send().await.unwrap();
    let status = server.ended(&sent.json().await.unwrap()).await;
    let line =
        |line: &Value| (line["level"].as_str().unwrap().to_owned(), line["message"].as_str().unwrap().to_owned());
    status["logs"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn a_run_whose_pictures_nobody_looks_at_says_so_once() {
    let server = TestServer::standing_in(Setup::default()).await;
    for (input, told) in [
        (json!({ "prompt": "x" }), true),
        (json!({ "prompt": "x", "enable_safety_checker": null }), true),
        (json!({ "prompt": "x", "enable_safety_checker": true }), true),
        (json!({ "prompt": "x", "enable_safety_checker": false }), false),
    ] {
        let logs = logs(&server, "fal-ai/flux/schnell", &input).await;
        let says = logs.iter().filter(|(_, message)| message.contains("this server has no checker")).count();
        assert_eq!(says, usize::from(told), "{input}: {logs:?}");
    }
    // an endpoint that has no such field is told nothing
    let logs = logs(&server, "fal-ai/aura-flow", &json!({ "prompt": "x" })).await;
    assert!(!logs.iter().any(|(_, message)| message.contains("checker")), "{logs:?}");
}

#[tokio::test]
async fn the_log_names_fields_that_no_object_has() {
    let server = TestServer::standing_in(Setup::default()).await;
    let input = json!({ "prompt": "x", "loras": [{ "path": "a/b" }, { "path": "c/d", "weight": 2 }],
                        "controlnet": { "path": "a/b", "control_image_url": "https://example.com/a.png", "scale": 1 },
                        "image_size": { "width": 64, "heigth": 64 } });
    let logs = logs(&server, "fal-ai/stable-diffusion-v35-large", &input).await;
    for path in ["loras.1.weight", "controlnet.scale", "image_size.heigth"] {
        let line = format!("fal-ai/stable-diffusion-v35-large has no field {path}; it was ignored");
        assert!(logs.iter().any(|(_, message)| *message == line), "{path}: {logs:?}");
    }
}

#[tokio::test]
async fn the_log_says_where_a_picture_is_of_another_size_than_asked() {
    let server = TestServer::running(Setup::default(), starter()).await;
    let drawn = async |width: u32, height: u32| {
        let input = json!({ "prompt": "a red circle", "num_inference_steps": 1,
                            "image_size": { "width": width, "height": height } });
        let logs = logs(&server, "scumble/starter", &input).await;
        logs.into_iter().find(|(_, message)| message.contains("in place of")).map(|(_, message)| message)
    };
    assert_eq!(drawn(128, 64).await, None);
    let said = drawn(250, 190).await.unwrap_or_default();
    assert!(said.contains("224x160") && said.contains("in place of 250x190"), "{said}");
}

#[tokio::test]
async fn the_log_names_the_words_that_the_starter_does_not_know() {
    let server = TestServer::running(Setup::default(), starter()).await;
    let input = |prompt: &str| json!({ "prompt": prompt, "num_inference_steps": 1 });
    let said = logs(&server, "scumble/starter", &input("a photo of a cat")).await;
    let warning = said.iter().find(|(level, _)| level == "WARN").map(|(_, message)| message);
    let warning = warning.unwrap_or_else(|| panic!("{said:?}"));
    assert!(warning.contains("photo, cat.") && warning.ends_with(scumble_api::STARTER_WORDS), "{warning}");
    let said = logs(&server, "scumble/starter", &input("a red circle")).await;
    assert!(said.iter().all(|(level, _)| level == "INFO"), "{said:?}");
}
