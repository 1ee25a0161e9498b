//! More pictures than a model makes at once.

use std::collections::HashSet;

use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};

use crate::{GENERATIONS, answer, cancelled, cards, post, until};

#[tokio::test]
async fn ten_pictures_are_ten_different_ones() {
    let server = cards().await;
    for model in ["fal-ai/aura-flow", "fal-ai/flux-pro/v1.1", "fal-ai/ideogram/v2"] {
        let body = json!({ "model": model, "prompt": "x", "n": 10, "response_format": "b64_json" });
        let found = answer(post(&server, GENERATIONS, &body), 200).await;
        let pictures: HashSet<&str> =
            found["data"].as_array().unwrap().iter().map(|picture| picture["b64_json"].as_str().unwrap()).collect();
        assert_eq!(pictures.len(), 10, "{model}");
    }
}

fn ten() -> Value {
    json!({ "model": "scumble/starter", "prompt": "x", "n": 10 })
}

#[tokio::test]
async fn a_caller_who_goes_away_cancels_all_of_it() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let call = tokio::spawn(post(&server, GENERATIONS, &ten()).send());
    runner.begun().await;
    call.abort();
    until("all three jobs are cancelled", async || cancelled(&server).await == 3).await;
}

#[tokio::test]
async fn one_that_fails_ends_the_call_and_the_others() {
    let runner = FakeRunner::free();
    runner.fail_first(1);
    let server = TestServer::new(&runner).await;
    let error = answer(post(&server, GENERATIONS, &ten()), 503).await;
    assert_eq!(error["error"]["type"], "server_error");
}

#[tokio::test]
async fn a_key_with_room_for_one_job_gets_ten_pictures_one_job_after_the_other() {
    let runner = FakeRunner::gated();
    let server = scumble_server::Config { per_key_concurrency: Some(1), ..Default::default() };
    let worker = scumble_worker::Config { concurrency: 3, per_key: Some(1), ..Default::default() };
    let server = TestServer::with(Setup { server, worker, ..Setup::default() }, &runner).await;
    let key = server.key().await;
    let bearer = |body: &Value| post(&server, GENERATIONS, body).header("authorization", format!("Bearer {key}"));
    let call = tokio::spawn(bearer(&ten()).send());
    runner.begun().await;
    // while it runs, the key is busy
    let busy = answer(bearer(&ten()), 429).await;
    assert_eq!(busy["error"]["code"], "rate_limit_exceeded");
    assert_eq!(runner.prompts().len(), 1, "one at a time");
    runner.allow(1000);
    let answer: Value = call.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), 10);
}
