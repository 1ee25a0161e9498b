//! Direct calls, the queue and files, as a client sees them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::time::Duration;

use reqwest::Method;
use scumble_testkit::runner::{FakeRunner, PANIC};
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};

fn small(prompt: &str) -> Value {
    json!({ "prompt": prompt, "seed": 3, "num_inference_steps": 2, "image_size": { "width": 64, "height": 96 } })
}

#[tokio::test]
async fn a_direct_call_answers_with_the_output_and_its_file_can_be_fetched() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let answer = server.request(Method::POST, "/run/scumble/starter").json(&small("a star")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["x-fal-request-id"].len(), 36);
    let output: Value = answer.json().await.unwrap();
    let url = output["images"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{}/cdn/files/b/", server.url)), "{url}");
    let expected = json!({
        "images": [{ "url": url, "width": 64, "height": 96, "content_type": "image/png" }],
        "timings": output["timings"], "seed": 3, "has_nsfw_concepts": [false], "prompt": "a star",
    });
    assert_eq!(output, expected);
    assert!(["load", "text_encode", "denoise", "decode"].iter().all(|s| output["timings"][s].is_number()));

    let file = reqwest::get(&url).await.unwrap();
    assert_eq!((file.status().as_u16(), &file.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
    assert_eq!(file.headers()["accept-ranges"], "bytes");
    let bytes = file.bytes().await.unwrap();
    assert_eq!(&bytes[1..4], b"PNG");
    check_range(&url, &bytes).await;
}

async fn check_range(url: &str, whole: &[u8]) {
    let ask = |range: String| reqwest::Client::new().get(url).header("range", range).send();
    let part = ask("bytes=8-15".into()).await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 8-15/{}", whole.len()).as_str());
    assert_eq!(part.headers()["content-length"], "8");
    assert_eq!(part.bytes().await.unwrap(), &whole[8..16]);
    let beyond = ask(format!("bytes={}-", whole.len())).await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"], format!("bytes */{}", whole.len()).as_str());
}

#[tokio::test]
async fn sync_mode_puts_the_picture_into_the_answer() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let mut input = small("a star");
    input["sync_mode"] = true.into();
    input["output_format"] = "jpeg".into();
    let answer = server.request(Method::POST, "/run/scumble/starter").json(&input).send().await.unwrap();
    let output: Value = answer.json().await.unwrap();
    assert!(output["images"][0]["url"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j/"));
}

#[tokio::test]
async fn the_queue_goes_from_waiting_to_work_to_result() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let first = server.submit(&small("first")).await;
    runner.begun().await;
    let second = server.submit(&small("second")).await;
    let third = server.submit(&small("third")).await;
    assert_eq!(
        (&second["status"], &second["queue_position"], &third["queue_position"]),
        (&"IN_QUEUE".into(), &0.into(), &1.into())
    );
    let base = format!("{}/queue/scumble/starter/requests/{}", server.url, third["request_id"].as_str().unwrap());
    assert_eq!(third["response_url"], base);
    assert_eq!(third["cancel_url"], format!("{base}/cancel"));

    let waiting = reqwest::get(third["status_url"].as_str().unwrap()).await.unwrap();
    assert_eq!(waiting.status(), 202);
    let waiting: Value = waiting.json().await.unwrap();
    assert_eq!(
        (&waiting["status"], &waiting["queue_position"], &waiting["logs"]),
        (&"IN_QUEUE".into(), &1.into(), &Value::Null)
    );
    let working: Value = reqwest::get(first["status_url"].as_str().unwrap()).await.unwrap().json().await.unwrap();
    assert_eq!(working["status"], "IN_PROGRESS");
    let early = reqwest::get(first["response_url"].as_str().unwrap()).await.unwrap();
    assert_eq!(early.status(), 400);
    assert_eq!(early.json::<Value>().await.unwrap(), json!({ "detail": "Request is still in progress" }));

    runner.allow(6);
    let ended = server.ended(&third).await;
    let lines: Vec<_> = ended["logs"].as_array().unwrap().iter().map(|l| l["message"].as_str().unwrap()).collect();
    assert_eq!(lines, ["denoising", "denoise 1/2", "denoise 2/2"]);
    assert!(ended["metrics"]["inference_time"].is_number());
    let result = reqwest::get(third["response_url"].as_str().unwrap()).await.unwrap();
    assert_eq!(result.headers()["x-fal-request-id"], third["request_id"].as_str().unwrap());
    assert_eq!(result.json::<Value>().await.unwrap()["prompt"], "third");
    assert_eq!(runner.prompts(), ["first", "second", "third"]);
}

#[tokio::test]
async fn low_priority_waits_behind_every_normal_request() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    server.submit(&small("busy")).await;
    runner.begun().await;
    let low = server.request(Method::POST, "/queue/scumble/starter").header("X-Fal-Queue-Priority", "low");
    let low: Value = low.json(&small("low")).send().await.unwrap().json().await.unwrap();
    server.submit(&small("normal")).await;
    runner.allow(6);
    server.ended(&low).await;
    assert_eq!(runner.prompts(), ["busy", "normal", "low"]);
}

#[tokio::test]
async fn a_request_can_be_cancelled_at_every_stage() {
    let runner = FakeRunner::gated();
    // the worker hears of it, and does not wait for its next sign of life
    let mut setup = Setup::default();
    setup.worker.heartbeat = Duration::from_secs(3_600);
    let server = TestServer::with(setup, &runner).await;
    let running = server.submit(&small("running")).await;
    runner.begun().await;
    let waiting = server.submit(&small("waiting")).await;
    let cancel = async |request: &Value| {
        let answer = reqwest::Client::new().put(request["cancel_url"].as_str().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(cancel(&waiting).await, (200, "OK".into()));
    assert_eq!(cancel(&running).await, (202, "CANCELLATION_REQUESTED".into()));
    for request in [&waiting, &running] {
        let ended = server.ended(request).await;
        assert_eq!(ended["error_type"], "client_cancelled");
        let result = reqwest::get(request["response_url"].as_str().unwrap()).await.unwrap();
        assert_eq!(result.status(), 499);
        assert_eq!(result.headers()["x-fal-error-type"], "client_cancelled");
    }
    assert_eq!(cancel(&running).await, (400, "ALREADY_COMPLETED".into()));
    let unknown = "/queue/scumble/starter/requests/00000000-0000-4000-8000-000000000000/cancel";
    let unknown = server.request(Method::PUT, unknown).send().await.unwrap();
    assert_eq!(
        (unknown.status().as_u16(), unknown.json::<Value>().await.unwrap()),
        (404, json!({ "status": "NOT_FOUND" }))
    );
}

#[tokio::test]
async fn a_caller_who_hangs_up_cancels_the_direct_call() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let call = server.request(Method::POST, "/run/scumble/starter").json(&small("abandoned")).send();
    tokio::select! {
        _ = call => panic!("the runner was never allowed to go on"),
        () = runner.begun() => {}
    }
    // the gate stays closed: only a cancel lets the next request run
    let next = server.submit(&small("next")).await;
    runner.begun().await;
    runner.allow(2);
    server.ended(&next).await;
    assert_eq!(runner.prompts(), ["abandoned", "next"]);
}

#[tokio::test]
async fn a_start_timeout_ends_what_did_not_start() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    server.submit(&small("busy")).await;
    runner.begun().await;
    let late = server.request(Method::POST, "/run/scumble/starter").header("x-fal-request-timeout", "0.2");
    let late = late.json(&small("late")).send().await.unwrap();
    assert_eq!(late.status(), 504);
    assert_eq!(late.headers()["x-fal-request-timeout-type"], "user");
    assert_eq!(late.json::<Value>().await.unwrap()["error_type"], "request_timeout");
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let runner = FakeRunner::free();
    let server = TestServer::new(&runner).await;
    let answer = server.request(Method::POST, "/run/scumble/starter").json(&small(PANIC)).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({ "detail": "The model failed on this request", "error_type": "runner_server_error" }));
    let next = server.request(Method::POST, "/run/scumble/starter").json(&small("next")).send().await.unwrap();
    assert_eq!(next.status(), 200);
}
