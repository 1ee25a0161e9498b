//! Prompts that are made longer before they are drawn: a real server, and a language model that says what the test wants.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use common::until;
use reqwest::Method;
use scumble_api::ImageFormat;
use scumble_engine::Pixels;
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::makers::Secret;
use scumble_worker::runner::{Drawn, Request, RunError, Runner, Watch};
use scumble_worker::{ChatSettings, Models, Picture, Prompts};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const AURA: &str = "fal-ai/aura-flow";
const PLAIN: &str = "fal-ai/flux/dev";

/// Draws what it is told to, and leaves it to others to make prompts longer, or sends them on as they are.
struct Painter {
    draws_prompts: bool,
}

#[async_trait::async_trait]
impl Runner for Painter {
    fn draws_prompts(&self) -> bool {
        self.draws_prompts
    }

    async fn run(&self, _: Request, _: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let pixels = Pixels { width: 1, height: 1, rgb: vec![1; 3] };
        let picture = Picture::encode(&pixels, ImageFormat::Png).unwrap();
        Ok(Drawn { pictures: vec![picture], ..Drawn::default() })
    }
}

/// What the model does when it is asked.
#[derive(Clone)]
enum Does {
    Says(&'static str),
    Refuses,
    /// It never answers.
    Hangs,
    /// More than anybody wants.
    Floods,
    LeadsAway(String),
}

/// The key and the body of a question.
type Heard = (Option<String>, Value);

#[derive(Clone)]
struct Model {
    does: Does,
    heard: Arc<Mutex<Vec<Heard>>>,
    address: SocketAddr,
}

impl Model {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let model = Self { does, heard: Arc::default(), address: listener.local_addr().unwrap() };
        let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(model.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        model
    }

    fn prompts(&self) -> Prompts {
        Prompts::new(ChatSettings {
            url: format!("http://{}/v1", self.address),
            model: "small".to_owned(),
            api_key: Some(Secret::new("a-long-secret")),
            deadline: if matches!(self.does, Does::Hangs) {
                Duration::from_millis(50)
            } else {
                Duration::from_secs(30)
            },
            max_tokens: 77,
            instruction: None,
        })
        .unwrap()
    }

    fn asked(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn answer(State(model): State<Model>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let key = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    model.heard.lock().unwrap().push((key, body));
    match &model.does {
        Does::Says(text) => {
            Json(json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] })).into_response()
        }
        Does::Refuses => (reqwest::StatusCode::UNAUTHORIZED, "no such key: a-long-secret").into_response(),
        Does::Hangs => std::future::pending().await,
        Does::Floods => "x".repeat(8 << 20).into_response(),
        Does::LeadsAway(url) => {
            (reqwest::StatusCode::TEMPORARY_REDIRECT, [("location", url.clone())], "").into_response()
        }
    }
}

/// A server whose prompts are made longer by this model.
async fn server(prompts: Prompts, draws_prompts: bool) -> TestServer {
    let mut setup = Setup::default();
    setup.worker.prompts = prompts;
    let painter: Arc<dyn Runner> = Arc::new(Painter { draws_prompts });
    TestServer::answering(setup, Models::with(HashMap::from([(AURA, painter.clone()), (PLAIN, painter)]))).await
}

/// The prompt in the answer, and the job's log.
async fn draw(server: &TestServer, endpoint: &str, body: &Value) -> (String, String) {
    let sent = server.request(Method::POST, &format!("/queue/{endpoint}")).json(body).send().await.unwrap();
    let sent: Value = sent.json().await.unwrap();
    let id = sent["request_id"].as_str().unwrap();
    let app = endpoint.split('/').take(2).collect::<Vec<_>>().join("/");
    let read = async |rest: &str| {
        let path = format!("/queue/{app}/requests/{id}{rest}");
        server.request(Method::GET, &path).send().await.unwrap().json::<Value>().await.unwrap()
    };
    until("the job ends", async || read("/status").await["status"] == "COMPLETED").await;
    let (status, answer) = (read("/status?logs=1").await, read("").await);
    let lines = status["logs"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned());
    (answer["prompt"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(), lines.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn the_longer_prompt_is_drawn_answered_and_remembered() {
    let model = Model::start(Does::Says(" a red fox in deep snow, at dawn ")).await;
    let server = server(model.prompts(), true).await;
    let (prompt, log) = draw(&server, AURA, &json!({ "prompt": "a fox" })).await;
    assert_eq!(prompt, "a red fox in deep snow, at dawn");
    assert!(log.contains("the prompt is now: a red fox"), "{log}");
    let asked = model.asked();
    let (key, body) = &asked[0];
    assert_eq!(key.as_deref(), Some("Bearer a-long-secret"));
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("small"), &json!(77)));
    assert_eq!(body["messages"][1], json!({ "role": "user", "content": "a fox" }));
    // the same again is not asked again
    assert_eq!(draw(&server, AURA, &json!({ "prompt": "a fox" })).await.0, prompt);
    assert_eq!(model.asked().len(), 1);
}

#[tokio::test]
async fn who_does_not_ask_for_it_gets_the_prompt_that_was_sent() {
    let model = Model::start(Does::Says("something else")).await;
    let here = server(model.prompts(), true).await;
    for body in [json!({ "prompt": "a fox", "expand_prompt": false }), json!({ "prompt": " " })] {
        assert_eq!(draw(&here, AURA, &body).await.0, body["prompt"]);
    }
    // an endpoint without the field, and a runner that sends the wish on
    assert_eq!(draw(&here, PLAIN, &json!({ "prompt": "a fox" })).await.0, "a fox");
    let sender = server(model.prompts(), false).await;
    assert_eq!(draw(&sender, AURA, &json!({ "prompt": "a fox" })).await.0, "a fox");
    assert!(model.asked().is_empty());
}

#[tokio::test]
async fn without_a_model_or_with_one_that_fails_the_prompt_stays_and_the_log_says_so() {
    let stranger = Model::start(Does::Says("elsewhere")).await;
    let away = format!("http://{}/v1/chat/completions", stranger.address);
    let none = server(Prompts::default(), true).await;
    let (prompt, log) = draw(&none, AURA, &json!({ "prompt": "a fox" })).await;
    assert!(prompt == "a fox" && log.contains("no language model is set here ([prompts]"), "{log}");
    for (does, said) in [
        (Does::Refuses, "status 401"),
        (Does::Hangs, "did not answer within 0.05 s"),
        (Does::Floods, "cannot be reached"),
        (Does::Says("  "), "empty text"),
        (Does::LeadsAway(away), "status 307"),
    ] {
        let model = Model::start(does).await;
        let server = server(model.prompts(), true).await;
        let (prompt, log) = draw(&server, AURA, &json!({ "prompt": "a fox" })).await;
        assert_eq!(prompt, "a fox");
        assert!(log.contains(said) && log.contains("used as it is") && !log.contains("secret"), "{log}");
        // what failed is tried again by the next
        draw(&server, AURA, &json!({ "prompt": "a fox" })).await;
        assert_eq!(model.asked().len(), 2);
    }
    assert!(stranger.asked().is_empty(), "no key goes to another host");
}

#[tokio::test]
async fn a_model_that_hangs_holds_no_place_and_a_cancel_ends_the_wait() {
    let hangs = Model::start(Does::Hangs).await;
    let settings = ChatSettings {
        url: format!("http://{}/v1/chat/completions/", hangs.address),
        model: "small".to_owned(),
        api_key: None,
        deadline: Duration::from_secs(600),
        max_tokens: 1,
        instruction: None,
    };
    let mut setup = Setup::default();
    setup.worker.concurrency = 1;
    setup.worker.prompts = Prompts::new(settings).unwrap();
    let painter: Arc<dyn Runner> = Arc::new(Painter { draws_prompts: true });
    let models = Models::with(HashMap::from([(AURA, painter.clone()), (PLAIN, painter)]));
    let server = TestServer::answering(setup, models).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let body = json!({ "prompt": format!("{n} foxes") });
        let sent = server.request(Method::POST, &format!("/queue/{AURA}")).json(&body).send().await.unwrap();
        ids.push(sent.json::<Value>().await.unwrap()["request_id"].as_str().unwrap().to_owned());
    }
    until("all three wait for the model", async || hangs.asked().len() == 3).await;
    assert_eq!(draw(&server, PLAIN, &json!({ "prompt": "a dog" })).await.0, "a dog", "the place is free");
    for id in ids {
        let path = format!("/queue/{AURA}/requests/{id}");
        server.request(Method::PUT, &format!("{path}/cancel")).send().await.unwrap();
        until("the job ends", async || {
            let status = server.request(Method::GET, &format!("{path}/status")).send().await.unwrap();
            status.json::<Value>().await.unwrap()["status"] == "COMPLETED"
        })
        .await;
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let good = ChatSettings {
        url: "http://127.0.0.1:1/v1".to_owned(),
        model: "m".to_owned(),
        api_key: None,
        deadline: Duration::from_secs(1),
        max_tokens: 1,
        instruction: None,
    };
    assert!(Prompts::new(good.clone()).is_ok());
    for (name, wrong) in [
        ("url", ChatSettings { url: "127.0.0.1:1/v1".to_owned(), ..good.clone() }),
        ("url", ChatSettings { url: "ftp://a.test/v1".to_owned(), ..good.clone() }),
        ("url", ChatSettings { url: "http://a.test/v1?key=1".to_owned(), ..good.clone() }),
        ("model", ChatSettings { model: " ".to_owned(), ..good.clone() }),
        ("deadline_s", ChatSettings { deadline: Duration::ZERO, ..good.clone() }),
        ("max_tokens", ChatSettings { max_tokens: 0, ..good.clone() }),
        ("api_key", ChatSettings { api_key: Some(Secret::new("a\nb")), ..good.clone() }),
    ] {
        assert_eq!(Prompts::new(wrong).err().map(|(name, _)| name), Some(name));
    }
}
