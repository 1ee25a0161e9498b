//! Server-sent events: the status of a request, and an output as it comes into being.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use reqwest::{Method, Response};
use scumble_testkit::runner::{FakeRunner, PANIC, starter};
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};

const STREAM: &str = "/run/scumble/starter/stream";

fn star(prompt: &str, steps: u32) -> Value {
    json!({ "prompt": prompt, "num_inference_steps": steps, "image_size": { "width": 64, "height": 64 } })
}

/// Reads events as fal's JavaScript client does: each chunk is decoded on its own, and everything is JSON.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-fal-request-id"].len(), 36);
        Self { response, text: String::new() }
    }

    /// The next event; `None` after a clean end.
    async fn next(&mut self) -> Option<Value> {
        self.try_next().await.expect("no broken connection")
    }

    async fn try_next(&mut self) -> reqwest::Result<Option<Value>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data =
                    event.strip_prefix("data: ").map(|d| serde_json::from_str(d).expect("JSON and nothing else"));
                assert!(data.is_some() || event.starts_with(':'), "neither data nor comment: {event}");
                self.text = rest.to_owned();
                if data.is_some() {
                    return Ok(data);
                }
                continue;
            }
            let Some(chunk) = self.response.chunk().await? else {
                assert_eq!(self.text, "", "the last event ends with a blank line");
                return Ok(None);
            };
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    async fn all(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

async fn get(url: String) -> Response {
    reqwest::get(url).await.unwrap()
}

#[tokio::test]
async fn a_status_stream_tells_every_change_once_and_ends() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let busy = server.submit(&star("busy", 1)).await;
    runner.begun().await;
    server.submit(&star("between", 1)).await;
    let watched = server.submit(&star("watched", 2)).await;
    let mut events = Events::of(get(format!("{}/stream?logs=1", watched["status_url"].as_str().unwrap())).await);
    let first = events.next().await.unwrap();
    assert_eq!((&first["status"], &first["queue_position"]), (&"IN_QUEUE".into(), &1.into()));
    assert_eq!(first["request_id"], watched["request_id"]);
    assert_eq!(first["logs"], json!([]));
    runner.allow(1);
    server.ended(&busy).await;
    runner.begun().await;
    let moved = events.next().await.unwrap();
    assert_eq!((&moved["status"], &moved["queue_position"]), (&"IN_QUEUE".into(), &0.into()));
    runner.allow(3);
    let rest = events.all().await;
    let last = rest.last().unwrap();
    assert_eq!((&last["status"], &last["error"]), (&"COMPLETED".into(), &Value::Null));
    assert!(last["metrics"]["inference_time"].is_number());
    assert!(rest[..rest.len() - 1].iter().all(|e| e["status"] == "IN_PROGRESS"), "{rest:?}");
    let lines: Vec<_> = rest.iter().flat_map(|e| e["logs"].as_array().unwrap()).map(|l| &l["message"]).collect();
    assert_eq!(lines, ["denoising", "denoise 1/2", "denoise 2/2"], "each line once");
}

#[tokio::test]
async fn a_status_stream_without_logs_says_null_and_one_of_an_ended_request_ends_at_once() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let wrong = server.submit(&json!({})).await;
    let url = wrong["status_url"].as_str().unwrap();
    for path in [format!("{url}/stream"), format!("{url}/stream/?logs=0"), format!("{url}/stream?logs=false")] {
        let events = Events::of(get(path).await).all().await;
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["status"], &events[0]["logs"]), (&"COMPLETED".into(), &Value::Null));
        assert!(events[0]["error"].is_string());
    }
    let unknown = "/queue/scumble/starter/requests/00000000-0000-4000-8000-000000000000/status/stream";
    assert_eq!(server.request(Method::GET, unknown).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_stream_shows_the_picture_coming_and_ends_with_the_output() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let call = server.request(Method::POST, STREAM).json(&star("é 🌟", 3)).send();
    let (response, ()) = tokio::join!(call, async { runner.allow(1) });
    let mut events = Events::of(response.unwrap());
    let mut drafts = Vec::new();
    // the gate opens only for those who have seen the step before
    for step in 1..=2 {
        while drafts.last().is_none_or(|d: &Value| d["progress"]["done"] != step) {
            drafts.push(events.next().await.unwrap());
        }
        runner.allow(1);
    }
    let mut rest = events.all().await;
    let output = rest.pop().unwrap();
    drafts.extend(rest);
    for draft in &drafts {
        assert_eq!((&draft["prompt"], &draft["seed"]), (&"é 🌟".into(), &output["seed"]));
        assert_eq!((&draft["progress"]["stage"], &draft["progress"]["total"]), (&"denoise".into(), &3.into()));
        assert_eq!(draft["images"].as_array().unwrap().len(), draft["has_nsfw_concepts"].as_array().unwrap().len());
    }
    let widths: Vec<_> = drafts.iter().filter_map(|d| d["images"][0]["width"].as_u64()).collect();
    assert!(widths.starts_with(&[8]) && widths.contains(&16) && !widths.contains(&24), "not the last step: {widths:?}");
    let preview = drafts.iter().find_map(|d| d["images"][0]["url"].as_str()).unwrap();
    assert!(preview.starts_with("data:image/jpeg;base64,/9j/"));
    assert_eq!((&output["prompt"], output.get("progress")), (&"é 🌟".into(), None));
    let url = output["images"][0]["url"].as_str().unwrap();
    assert_eq!(get(url.to_owned()).await.status(), 200);
}

/// Mean difference of two pictures of one size, in levels of 0 to 255.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}

#[tokio::test]
async fn the_starters_previews_come_closer_to_its_picture() {
    let server = TestServer::running(Setup::default(), starter()).await;
    let input = json!({ "prompt": "a blue circle on a white background", "seed": 1, "num_inference_steps": 16 });
    let events = Events::of(server.request(Method::POST, STREAM).json(&input).send().await.unwrap()).all().await;
    let (output, drafts) = events.split_last().unwrap();
    let picture = get(output["images"][0]["url"].as_str().unwrap().to_owned()).await.bytes().await.unwrap();
    let picture = image::load_from_memory(&picture).unwrap().to_rgb8();
    let small = resize(&picture, 128, 128, FilterType::Triangle);
    let mut urls: Vec<_> = drafts.iter().filter_map(|d| d["images"][0]["url"].as_str()).collect();
    urls.dedup();
    let distances = urls.iter().map(|url| {
        let bytes = STANDARD.decode(url.split_once(',').unwrap().1).unwrap();
        difference(&image::load_from_memory(&bytes).unwrap().to_rgb8(), &small)
    });
    let distances: Vec<f64> = distances.collect();
    let nearest = distances.last().expect("a preview");
    assert!(distances.len() < 2 || nearest < &distances[0], "{distances:?}");
    assert!(*nearest < 24.0, "{distances:?}");
}

#[tokio::test]
async fn a_stream_has_begun_once_its_job_runs_for_a_while_in_silence() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    // answered though no step was allowed
    let events = Events::of(server.request(Method::POST, STREAM).json(&star("slow", 1)).send().await.unwrap());
    runner.allow(1);
    assert_eq!(events.all().await.last().unwrap()["prompt"], "slow");
}

#[tokio::test]
async fn every_way_to_ask_for_a_stream_gets_one() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let post = |path: &str| server.request(Method::POST, path).json(&star("a star", 1));
    let requests = [
        post(STREAM),
        post("/run/scumble/starter/stream/stream"),
        post("/scumble/starter/stream"),
        post("/scumble/starter/stream").header("host", "fal.run"),
        post("/api/fal/proxy")
            .header("x-fal-target-url", "https://fal.run/scumble/starter/stream")
            .header("accept", "application/json"),
        server.request(Method::GET, "/run/scumble/starter/stream?prompt=a+star"),
    ];
    for request in requests {
        let events = Events::of(request.send().await.unwrap()).all().await;
        assert_eq!(events.last().unwrap()["prompt"], "a star");
    }
    let plain = post("/run/scumble/starter").header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "application/json", "the path decides, not the header");
}

#[tokio::test]
async fn errors_before_the_first_event_are_ordinary_answers() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let post = |path: &str, body: Value| server.request(Method::POST, path).json(&body).send();
    let invalid = post(STREAM, json!({ "prompt": 3 })).await.unwrap();
    assert_eq!(
        (invalid.status().as_u16(), &invalid.headers()["content-type"]),
        (422, &"application/json".parse().unwrap())
    );
    assert_eq!(invalid.json::<Value>().await.unwrap()["detail"][0]["loc"], json!(["body", "prompt"]));
    assert_eq!(post("/run/nobody/nothing/stream", json!({})).await.unwrap().status(), 404);
    let panicked = post(STREAM, star(PANIC, 1)).await.unwrap();
    assert_eq!(panicked.status(), 500);
    assert_eq!(panicked.json::<Value>().await.unwrap()["error_type"], "runner_server_error");

    runner.begun().await;
    server.submit(&star("busy", 1)).await;
    runner.begun().await;
    let late = server.request(Method::POST, STREAM).header("x-fal-request-timeout", "0.2").json(&star("late", 1));
    let late = late.send().await.unwrap();
    assert_eq!(
        (late.status().as_u16(), &late.headers()["x-fal-request-timeout-type"]),
        (504, &"user".parse().unwrap())
    );
}

#[tokio::test]
async fn a_failure_after_the_first_event_breaks_the_connection() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    runner.allow(1);
    let response = server.request(Method::POST, STREAM).json(&star("doomed", 2)).send().await.unwrap();
    let id = response.headers()["x-fal-request-id"].to_str().unwrap().to_owned();
    let mut events = Events::of(response);
    assert_eq!(events.next().await.unwrap()["progress"]["done"], 1);
    let cancel = server.request(Method::PUT, &format!("/queue/scumble/starter/requests/{id}/cancel"));
    assert_eq!(cancel.send().await.unwrap().status(), 202);
    loop {
        match events.try_next().await {
            Ok(Some(draft)) => assert!(draft["progress"].is_object(), "no output"),
            Ok(None) => panic!("a clean end would look like success"),
            Err(_) => break,
        }
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_cancels_the_job() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    runner.allow(1);
    let call = server.request(Method::POST, STREAM).json(&star("abandoned", 9));
    let mut events = Events::of(call.send().await.unwrap());
    events.next().await.unwrap();
    runner.begun().await;
    drop(events);
    // the gate stays closed: only a cancel lets the next request run
    let next = server.submit(&star("next", 1)).await;
    runner.begun().await;
    runner.allow(1);
    server.ended(&next).await;
    assert_eq!(runner.prompts(), ["abandoned", "next"]);
}

#[tokio::test]
async fn only_those_who_watch_cost_previews() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let submitted = server.submit(&star("unwatched", 4)).await;
    server.ended(&submitted).await;
    let id = submitted["request_id"].as_str().unwrap().parse().unwrap();
    let events = server.store.events(id, 0).await.unwrap();
    assert!(events.len() > 4 && !events.iter().any(|e| format!("{:?}", e.kind).starts_with("Preview")), "{events:?}");
}

#[tokio::test]
async fn a_quiet_stream_outlives_its_polls() {
    let runner = FakeRunner::gated();
    let mut setup = Setup::default();
    setup.server.poll = Duration::from_millis(1);
    let server = TestServer::with(setup, &runner).await;
    runner.allow(1);
    let mut events = Events::of(server.request(Method::POST, STREAM).json(&star("quiet", 2)).send().await.unwrap());
    let first = events.next().await.unwrap();
    assert_eq!(first["progress"]["done"], 1);
    runner.allow(1);
    let rest = events.all().await;
    assert_eq!(rest.last().unwrap()["prompt"], "quiet");
    assert!(rest.len() <= 3, "polls alone say nothing: {rest:?}");
}

/// Between client and server, byte by byte: as bad as a network may be.
fn relay(server: &str) -> String {
    let target = server.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(target).unwrap();
        client.set_nodelay(true).unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let mut byte = [0];
        while server.read(&mut byte).is_ok_and(|n| n == 1) && client.write_all(&byte).is_ok() {}
    });
    url
}

#[tokio::test]
async fn text_beyond_ascii_survives_chunks_of_one_byte() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let url = format!("{}{STREAM}", relay(&server.url));
    let response = reqwest::Client::new().post(url).json(&star("éüß 日本 🌟", 2)).send().await.unwrap();
    let events = Events::of(response).all().await;
    assert_eq!(events.last().unwrap()["prompt"], "éüß 日本 🌟");
}
