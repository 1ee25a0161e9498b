//! What callers may say beside the input: limits, deadlines, repeats.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use reqwest::{Method, Response};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};

const SUBMIT: &str = "/queue/scumble/starter";

fn small(prompt: &str) -> Value {
    json!({ "prompt": prompt, "seed": 3, "num_inference_steps": 2, "image_size": { "width": 64, "height": 96 } })
}

async fn send(server: &TestServer, path: &str, header: (&str, &str), input: &Value) -> Response {
    server.request(Method::POST, path).header(header.0, header.1).json(input).send().await.unwrap()
}

const NONE: (&str, &str) = ("x-nothing", "1");

#[tokio::test]
async fn a_repeated_submit_is_one_job() {
    let server = TestServer::new(&FakeRunner::gated()).await;
    let word = ("Idempotency-Key", "order-17");
    let id = async |header, input: &Value| -> Value {
        let answer = send(&server, SUBMIT, header, input).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["request_id"].take()
    };
    let first = id(word, &small("a")).await;
    assert_eq!(id(word, &small("a")).await, first);
    assert_ne!(id(("Idempotency-Key", "order-18"), &small("a")).await, first);
    let other = send(&server, SUBMIT, word, &small("b")).await;
    assert_eq!(other.status(), 422, "not 409, which clients retry");
    let other: Value = other.json().await.unwrap();
    assert_eq!(other["detail"][0]["loc"], json!(["header", "Idempotency-Key"]));
    assert_eq!(other["detail"][0]["type"], "idempotency_key_reused");
}

#[tokio::test]
async fn repeats_of_different_keys_are_different_jobs() {
    let server = TestServer::new(&FakeRunner::gated()).await;
    let mut ids = Vec::new();
    for key in [server.key().await, server.key().await] {
        let request = server.request(Method::POST, SUBMIT).header("authorization", format!("Key {key}"));
        let answer = request.header("idempotency-key", "w").json(&small("a")).send().await.unwrap();
        ids.push(answer.json::<Value>().await.unwrap()["request_id"].take());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_queue_can_be_full() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    server.submit(&small("busy")).await;
    runner.begun().await;
    let capped = format!("{SUBMIT}?fal_max_queue_length=1");
    // none waits, one waits, two wait
    assert_eq!(send(&server, &capped, NONE, &small("a")).await.status(), 200);
    assert_eq!(send(&server, &capped, NONE, &small("b")).await.status(), 200);
    let refused = send(&server, &capped, NONE, &small("c")).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["x-fal-needs-retry"]), (429, &"1".parse().unwrap()));
    assert!(refused.json::<Value>().await.unwrap()["detail"].as_str().unwrap().starts_with("2 requests are waiting"));
    let nonsense = send(&server, &format!("{SUBMIT}?fal_max_queue_length=many"), NONE, &small("d")).await;
    assert_eq!(nonsense.status(), 422);
}

#[tokio::test]
async fn a_direct_call_over_the_limit_of_its_key_is_refused_at_once() {
    let runner = FakeRunner::gated();
    let server = {
        let mut setup = Setup::default();
        setup.server.per_key_concurrency = Some(1);
        TestServer::with(setup, &runner).await
    };
    let queued = server.submit(&small("queued")).await;
    runner.begun().await;
    let refused = send(&server, "/run/scumble/starter", NONE, &small("direct")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["x-fal-needs-retry"], "1");
    assert_eq!(refused.headers()["x-fal-error-type"], "concurrent_requests_limit");
    // waiting in the queue is allowed
    let patient = server.submit(&small("patient")).await;
    runner.allow(8);
    server.ended(&queued).await;
    server.ended(&patient).await;
    assert_eq!(send(&server, "/run/scumble/starter", NONE, &small("direct")).await.status(), 200);
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_unless_the_caller_says_no() {
    for (header, expected) in [
        (NONE, 200),
        (("X-Fal-No-Retry", "yes"), 503),
        (("X-Fal-Retry-Config", r#"{"server_error": {"retries": 0}}"#), 503),
        (("X-Fal-Retry-Config", r#"{"connection_error": {"retries": 0}}"#), 200),
        (("X-Fal-Retry-Config", "nonsense"), 200),
    ] {
        let runner = FakeRunner::free();
        runner.fail_first(1);
        let server = TestServer::new(&runner).await;
        let submitted: Value = send(&server, SUBMIT, header, &small("a")).await.json().await.unwrap();
        server.ended(&submitted).await;
        let result = reqwest::get(submitted["response_url"].as_str().unwrap()).await.unwrap();
        assert_eq!(result.status(), expected, "{header:?}");
        assert_eq!(runner.prompts().len(), if expected == 200 { 2 } else { 1 });
        if expected == 503 {
            assert_eq!(result.headers()["x-fal-error-type"], "runner_scheduling_failure");
            assert_eq!(result.json::<Value>().await.unwrap()["error_type"], "runner_scheduling_failure");
        }
    }
}

#[tokio::test]
async fn a_direct_call_is_never_tried_again() {
    let runner = FakeRunner::free();
    runner.fail_first(1);
    let server = TestServer::new(&runner).await;
    assert_eq!(send(&server, "/run/scumble/starter", NONE, &small("a")).await.status(), 503);
    assert_eq!(runner.prompts(), ["a"]);
}

#[tokio::test]
async fn a_webhook_that_is_no_web_address_is_refused() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for bad in ["ftp%3A%2F%2Fx%2F", "nowhere", "http%3A%2F%2F"] {
        let refused = send(&server, &format!("{SUBMIT}?fal_webhook={bad}"), NONE, &small("a")).await;
        assert_eq!(refused.status(), 422, "{bad}");
        assert_eq!(refused.json::<Value>().await.unwrap()["detail"][0]["loc"], json!(["query", "fal_webhook"]));
    }
}
