//! `scumble serve`, asked to stop while callers wait.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::time::Duration;

use common::{Desk, plain};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn callers_get_an_answer_before_the_process_ends() {
    let desk = Desk::new();
    let server = desk.serve(&["--stand-in=1500"]);
    let client = plain();
    let call = |prompt: &str| {
        let call = client.post(server.url("/run/fal-ai/flux/dev")).json(&json!({ "prompt": prompt }));
        tokio::spawn(async move { call.send().await.unwrap().status() })
    };
    let waiting = |number: usize| {
        let jobs = ["jobs", "list", "--state", "queued", "--json", "--data-dir", "data"];
        let listed = common::succeeded(&desk.scumble(&jobs));
        serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().len() == number
    };
    let mut calls = vec![call("first")];
    // the first is at work before the others come
    let at_work = ["jobs", "list", "--state", "running", "--json", "--data-dir", "data"];
    let began = std::time::Instant::now();
    while common::succeeded(&desk.scumble(&at_work)).trim() == "[]" {
        assert!(began.elapsed() < Duration::from_secs(60), "the first is not taken up");
    }
    calls.extend(["second", "third", "fourth"].map(call));
    while !waiting(3) {
        assert!(began.elapsed() < Duration::from_secs(60), "the others do not wait");
    }

    server.asks_to_stop();
    let unready = async {
        while client.get(server.url("/ready")).send().await.unwrap().status() == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.post(server.url("/run/fal-ai/flux/dev")).json(&json!({ "prompt": "late" })).send().await.unwrap()
    };
    let late = tokio::time::timeout(Duration::from_secs(60), unready).await.expect("it is not ready");
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(late.headers().contains_key("retry-after"));
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.expect("nobody is cut off").as_u16());
    }
    assert_eq!(answers, [200, 503, 503, 503]);
    server.stop();

    let left = common::succeeded(&desk.scumble(&["jobs", "list", "--json", "--data-dir", "data"]));
    let left: Value = serde_json::from_str(&left).unwrap();
    let states: Vec<_> = left.as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["cancelled", "cancelled", "cancelled", "done"], "nothing is left to run");
}
