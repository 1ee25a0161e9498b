//! Runs that hang while their signs of life go on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use scumble_worker::RunLimits;
use scumble_worker::runner::{Drawn, Request, RunError, Runner, Watch};
use serde_json::{Value, json};

fn limited(own: bool) -> Setup {
    let (mut setup, limit) = (Setup::default(), Duration::from_millis(300));
    setup.worker.heartbeat = Duration::from_millis(50);
    setup.worker.runs = match own {
        true => RunLimits { own: [(ENDPOINT.to_owned(), limit)].into(), ..RunLimits::default() },
        false => RunLimits { usual: Some(limit), ..RunLimits::default() },
    };
    setup
}

async fn call(server: &TestServer) -> (u16, Value) {
    let sent = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&json!({ "prompt": "x" }));
    let answer = sent.send().await.unwrap();
    assert_eq!(answer.headers()["x-fal-retryable"], "false");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn said_so((status, body): (u16, Value)) {
    assert_eq!((status, &body["detail"][0]["type"]), (504, &json!("generation_timeout")), "{body}");
    let msg = body["detail"][0]["msg"].as_str().unwrap();
    assert!(msg.contains("0.3 s") && msg.contains("[worker] run_s"), "{msg}");
}

/// Does not even hear that it should stop.
struct Deaf;

#[async_trait::async_trait]
impl Runner for Deaf {
    async fn run(&self, _: Request, _: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_run_that_takes_too_long_ends_with_an_error_that_says_so() {
    for own in [true, false] {
        let runner = FakeRunner::gated();
        let server = TestServer::with(limited(own), &runner).await;
        said_so(call(&server).await);
        // the place is free again
        runner.allow(1000);
        let next = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&json!({ "prompt": "x" }));
        assert_eq!(next.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn one_that_hears_nothing_is_left_alone() {
    let server = TestServer::running(limited(false), Arc::new(Deaf)).await;
    let began = Instant::now();
    said_so(call(&server).await);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_run_may_take_as_long_as_it_likes_where_nothing_is_set() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let sent = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&json!({ "prompt": "x" }));
    let waiting = tokio::spawn(sent.send());
    runner.begun().await;
    // several signs of life long
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    runner.allow(1000);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}
