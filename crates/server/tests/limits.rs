//! What an input may cost: its size, its number of fields, what it asks for, and what all of them hold together.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod socket;

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use scumble_server::Budget;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};
use socket::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RUN: &str = "/run/scumble/starter";
const QUEUE: &str = "/queue/scumble/starter";
const MIB: usize = 1024 * 1024;

/// A server that takes bodies of up to 20 MiB.
async fn server(memory: Budget) -> TestServer {
    let mut setup = Setup::default();
    setup.server.body_bytes = 20 * MIB;
    setup.server.memory = memory;
    TestServer::with(setup, &FakeRunner::free()).await
}

async fn post(server: &TestServer, path: &str, body: impl Into<reqwest::Body>) -> Response {
    server.request(Method::POST, path).body(body).send().await.unwrap()
}

/// The one problem of a refusal.
async fn problem(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert!(text.len() < 4096, "{} bytes", text.len());
    let mut body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["detail"].as_array().map(Vec::len), Some(1), "{body}");
    (status, body["detail"][0].take())
}

/// What became of a submitted request: its status with the log, and its result.
async fn ended(server: &TestServer, input: &Value) -> (Value, Response) {
    let submitted = server.submit(input).await;
    let status = server.ended(&submitted).await;
    let url = submitted["response_url"].as_str().unwrap();
    (status, reqwest::get(url).await.unwrap())
}

#[tokio::test]
async fn a_million_unknown_fields_are_refused_at_once() {
    let server = server(Budget::default()).await;
    let fields: Vec<String> = (0..1_000_000).map(|n| format!("\"k{n}\":1")).collect();
    let body = format!("{{{},\"prompt\":\"x\"}}", fields.join(","));
    for path in [RUN, QUEUE] {
        let began = Instant::now();
        let (status, problem) = problem(post(&server, path, body.clone()).await).await;
        assert_eq!((status, &problem["type"]), (422, &json!("sequence_too_long")), "{path}");
        assert!(problem["msg"].as_str().unwrap().contains("10000"), "{problem}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn some_unknown_fields_are_named_and_the_rest_counted() {
    let server = server(Budget::default()).await;
    let mut input = json!({ "prompt": "x" });
    for n in 0..3000 {
        input[format!("k{n}")] = 1.into();
    }
    let (status, result) = ended(&server, &input).await;
    assert_eq!(result.status(), 200);
    let lines: Vec<&str> =
        status["logs"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap()).collect();
    let named = lines.iter().filter(|line| line.contains("has no field")).count();
    assert_eq!(named, 20, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("2980 more fields")), "{lines:?}");
}

#[tokio::test]
async fn a_long_prompt_is_refused_with_its_limit_and_not_sent_back() {
    let server = server(Budget::default()).await;
    let input = json!({ "prompt": "a red circle ".repeat(150_000) });
    let began = Instant::now();
    let (status, direct) = problem(post(&server, RUN, input.to_string()).await).await;
    let queued = problem(ended(&server, &input).await.1).await;
    assert_eq!((status, direct.clone()), queued, "as a result it is the same");
    assert_eq!((status, &direct["loc"], direct.get("input")), (422, &json!(["body", "prompt"]), None));
    assert!(direct["msg"].as_str().unwrap().contains("32768 bytes (32 KiB)"), "{direct}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let longest = json!({ "prompt": "é".repeat(16 * 1024) });
    assert_eq!(post(&server, RUN, longest.to_string()).await.status(), 200);
}

#[tokio::test]
async fn sizes_are_fitted_to_the_model_on_every_route() {
    let server = server(Budget::default()).await;
    for (size, (width, height)) in [
        (json!("square_hd"), (512, 512)),
        (json!("square"), (512, 512)),
        (json!("portrait_4_3"), (384, 512)),
        (json!("portrait_16_9"), (288, 512)),
        (json!("landscape_4_3"), (512, 384)),
        (json!("landscape_16_9"), (512, 288)),
        (json!({ "width": 1536, "height": 1024 }), (512, 352)),
    ] {
        let input = json!({ "prompt": "a", "image_size": size });
        let direct = post(&server, RUN, input.to_string()).await;
        let (status, queued) = ended(&server, &input).await;
        let events = post(&server, &format!("{RUN}/stream"), input.to_string()).await.text().await.unwrap();
        let last = events.lines().rfind(|line| line.starts_with("data:")).unwrap();
        let last: Value = serde_json::from_str(&last["data:".len()..]).unwrap();
        for output in [direct.json::<Value>().await.unwrap(), queued.json().await.unwrap(), last] {
            let image = &output["images"][0];
            assert_eq!((&image["width"], &image["height"]), (&json!(width), &json!(height)), "{size}: {output}");
            let file = reqwest::get(image["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
            let picture = image::load_from_memory(&file).unwrap();
            assert_eq!((picture.width(), picture.height()), (width, height), "{size}");
        }
        let told = status["logs"].to_string().contains("the picture is scaled to");
        assert_eq!(told, size != json!("square"), "{status}");
    }
    let wide = json!({ "model": "scumble/starter", "prompt": "a", "size": "1536x1024", "response_format": "url" });
    let answer: Value = post(&server, "/v1/images/generations", wide.to_string()).await.json().await.unwrap();
    let url = answer["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let file = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    let picture = image::load_from_memory(&file).unwrap();
    assert_eq!((picture.width(), picture.height()), (512, 352));
}

#[tokio::test]
async fn a_seed_of_minus_one_is_a_random_one() {
    let server = server(Budget::default()).await;
    let input = json!({ "prompt": "a", "seed": -1, "image_size": { "width": 64, "height": 64 } });
    let mut seeds = Vec::new();
    for _ in 0..2 {
        let direct: Value = post(&server, RUN, input.to_string()).await.json().await.unwrap();
        let queued: Value = ended(&server, &input).await.1.json().await.unwrap();
        seeds.extend([direct, queued].map(|output| output["seed"].as_u64().unwrap_or_else(|| panic!("{output}"))));
    }
    seeds.sort_unstable();
    seeds.dedup();
    assert!(seeds.len() > 1, "{seeds:?}");
}

#[tokio::test]
async fn the_wrapper_of_fals_clients_is_to_be_left_out() {
    let server = server(Budget::default()).await;
    let input = json!({ "input": { "prompt": "x" } });
    let direct = problem(post(&server, RUN, input.to_string()).await).await;
    assert_eq!(direct.0, 422);
    assert!(direct.1["msg"].as_str().unwrap().contains("leave out the input wrapper"), "{direct:?}");
    assert_eq!(problem(ended(&server, &input).await.1).await, direct);
}

#[tokio::test]
async fn refusals_say_in_both_words_whether_to_try_again() {
    let mut setup = Setup::default();
    setup.server.direct_calls = 1;
    let runner = FakeRunner::gated();
    let server = TestServer::with(setup, &runner).await;
    let waiting = tokio::spawn(server.request(Method::POST, RUN).json(&json!({ "prompt": "x" })).send());
    runner.begun().await;
    for (body, status, retryable, needed) in
        [(json!({}), 422, "false", "0"), (json!({ "prompt": "x" }), 429, "true", "1")]
    {
        let path = if status == 422 { "/queue/scumble/starter" } else { RUN };
        let answer = match status {
            // as the result of a request
            422 => ended(&server, &body).await.1,
            _ => post(&server, path, body.to_string()).await,
        };
        assert_eq!(answer.status(), status);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("x-fal-retryable").as_str(), header("x-fal-needs-retry").as_str()), (retryable, needed));
    }
    runner.allow(1000);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

/// Sends the head of a request and so much of its body, and keeps the rest back.
async fn held_back(server: &TestServer, announced: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!("POST {RUN} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

#[tokio::test]
async fn bodies_together_stay_within_the_memory_and_small_calls_go_on() {
    let memory = Budget::new(8 * MIB as u64);
    let server = server(memory.clone()).await;
    // three of them take six of eight
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(held_back(&server, MIB + 100, MIB).await);
    }
    while memory.free() > 3 * MIB as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let small = json!({ "prompt": "x", "image_size": { "width": 64, "height": 64 } }).to_string();
    let large = format!("{small}{}", " ".repeat(2 * MIB));
    let refused = post(&server, RUN, large.clone()).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(refused.headers()["x-fal-needs-retry"], "1");
    let body: Value = refused.json().await.unwrap();
    assert!(body["detail"].as_str().unwrap().contains("memory of this server"), "{body}");
    assert_eq!(post(&server, RUN, small).await.status(), 200, "a small one needs no room");
    // who waits a little gets what others give back
    let waiting = tokio::spawn(server.request(Method::POST, RUN).body(large).send());
    held.pop();
    held.pop();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    // and a body that nobody finishes is given up with its connection
    drop(held);
    while memory.free() < memory.bytes() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn messages_of_sessions_together_stay_within_the_memory() {
    let memory = Budget::new(4 * MIB as u64);
    let mut setup = Setup::default();
    setup.server.body_bytes = 20 * MIB;
    setup.server.memory = memory.clone();
    let runner = FakeRunner::gated();
    let server = TestServer::with(setup, &runner).await;
    let mut held = Socket::open(&server, "/run/scumble/starter/realtime").await;
    let input = json!({ "prompt": "x", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
    let padded = format!("{input}{}", " ".repeat(3 * MIB / 2));
    held.send_text(&padded).await;
    runner.begun().await;
    assert!(memory.free() < 2 * MIB as u64, "{memory:?}");
    // a second of that size does not fit
    let mut other = Socket::open(&server, "/run/scumble/starter/realtime").await;
    let _ = other.try_send_text(&padded).await;
    assert_eq!(other.closed().await, Some(1013));
    // what was held goes with its answer
    runner.allow(1000);
    held.text().await;
    while memory.free() < memory.bytes() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut again = Socket::open(&server, "/run/scumble/starter/realtime").await;
    again.send_text(&padded).await;
    assert_eq!(again.text().await["prompt"], "x");
}

#[tokio::test]
async fn a_body_that_is_cut_gives_its_room_back() {
    let memory = Budget::new(8 * MIB as u64);
    let server = server(memory.clone()).await;
    let mut stream = held_back(&server, MIB, MIB / 2).await;
    while memory.free() == memory.bytes() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    while memory.free() < memory.bytes() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
