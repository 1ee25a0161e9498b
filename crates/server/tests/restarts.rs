//! What a restart leaves behind: everything that was acknowledged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};

fn star(prompt: &str) -> Value {
    json!({ "prompt": prompt, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

/// The same request at the next server's address.
fn moved(request: &Value, server: &TestServer) -> Value {
    let path = request["status_url"].as_str().unwrap().split_once("/queue").unwrap().1;
    json!({ "status_url": format!("{}/queue{path}", server.url) })
}

#[tokio::test]
async fn an_orderly_stop_gives_the_running_job_back() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let (running, waiting) = (server.submit(&star("running")).await, server.submit(&star("waiting")).await);
    runner.begun().await;
    let folder = server.stopped().await;
    let again = FakeRunner::free();
    let server = TestServer::on(folder, &again).await;
    for request in [&running, &waiting] {
        assert_eq!(server.ended(&moved(request, &server)).await["error"], Value::Null);
    }
    assert_eq!(again.prompts(), ["running", "waiting"], "and at its old place");
}

#[tokio::test]
async fn a_job_whose_worker_was_killed_runs_again_once() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let running = server.submit(&star("running")).await;
    runner.begun().await;
    let folder = server.killed();
    let again = FakeRunner::free();
    let server = TestServer::on(folder, &again).await;
    let ended = server.ended(&moved(&running, &server)).await;
    assert_eq!(ended["error"], Value::Null);
    assert_eq!(again.prompts(), ["running"]);
}
