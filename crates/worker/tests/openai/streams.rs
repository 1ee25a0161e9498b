//! Streams of events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};

use crate::form::Form;
use crate::{EDITS, GENERATIONS, answer, cancelled, cards, decoded, file, photo, post, until};

/// The events of a stream: each name, which is in its data too, and the data.
async fn events(response: reqwest::Response) -> Vec<(String, Value)> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    parsed(&response.text().await.unwrap())
}

fn parsed(text: &str) -> Vec<(String, Value)> {
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    let event = |block: &str| {
        let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let (name, data): (_, Value) = (line("event:"), serde_json::from_str(&line("data:")).unwrap());
        assert_eq!(data["type"], name.as_str());
        (name, data)
    };
    blocks.map(event).collect()
}

fn body(partials: u32, n: u32) -> Value {
    json!({ "model": "scumble/starter", "prompt": "x", "stream": true, "partial_images": partials, "n": n })
}

/// Reads on until there are so many partial pictures.
async fn read_partials(response: &mut reqwest::Response, text: &mut String, count: usize) {
    while text.matches("event: image_generation.partial_image").count() < count {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().expect("more of the stream")).unwrap());
    }
}

#[tokio::test]
async fn partial_pictures_come_before_the_picture() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let call = tokio::spawn(post(&server, GENERATIONS, &body(2, 1)).send());
    runner.begun().await;
    let mut text = String::new();
    // of 16 steps the first is shown, and the first one in the second half of which there is a preview
    runner.allow(1);
    let mut response = call.await.unwrap().unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    assert_eq!(response.headers()["x-request-id"], response.headers()["x-fal-request-id"]);
    read_partials(&mut response, &mut text, 1).await;
    runner.allow(9);
    read_partials(&mut response, &mut text, 2).await;
    runner.allow(6);
    text.push_str(&response.text().await.unwrap());
    let events = parsed(&text);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let (partial, completed) = ("image_generation.partial_image", "image_generation.completed");
    assert_eq!(names, [partial, partial, completed]);
    for (index, (_, data)) in events[..2].iter().enumerate() {
        assert_eq!(data["partial_image_index"], index);
        assert!(data["created_at"].as_i64().unwrap() > 1_700_000_000);
        assert_eq!((picture(data), &data["output_format"]), (ImageFormat::Jpeg, &json!("jpeg")));
    }
    let last = &events[2].1;
    assert_eq!((picture(last), &last["output_format"]), (ImageFormat::Png, &json!("png")));
    assert_eq!((&last["size"], &last["usage"]["total_tokens"]), (&json!("256x256"), &json!(0)));
}

fn picture(data: &Value) -> ImageFormat {
    decoded(&STANDARD.decode(data["b64_json"].as_str().unwrap()).unwrap()).0
}

#[tokio::test]
async fn without_partial_pictures_there_is_the_picture_and_of_several_each() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for (partials, n) in [(0, 1), (0, 10)] {
        let found = events(post(&server, GENERATIONS, &body(partials, n)).send().await.unwrap()).await;
        assert_eq!(found.len(), n as usize);
        assert!(found.iter().all(|(name, _)| name == "image_generation.completed"));
    }
}

#[tokio::test]
async fn edits_stream_too() {
    let server = cards().await;
    let png = file(&photo(8, 8), ImageFormat::Png);
    let form = Form::new(&[("model", "gpt-image-1"), ("prompt", "x"), ("stream", "true"), ("partial_images", "1")]);
    let found = events(form.file("image", &png).sent(&server, EDITS).send().await.unwrap()).await;
    assert_eq!(found.last().unwrap().0, "image_edit.completed");
    assert!(found[..found.len() - 1].iter().all(|(name, _)| name == "image_edit.partial_image"));
}

#[tokio::test]
async fn a_refusal_before_the_first_event_is_plain_json_and_a_later_one_an_event() {
    let runner = FakeRunner::free();
    runner.fail_first(1);
    let server = TestServer::new(&runner).await;
    let error = answer(post(&server, GENERATIONS, &body(0, 1)), 503).await;
    assert_eq!(error["error"]["type"], "server_error");
    let mut bad = body(0, 1);
    bad["prompt"] = Value::Null;
    assert_eq!(answer(post(&server, GENERATIONS, &bad), 400).await["error"]["param"], "prompt");

    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    // the first of two jobs is done before the second fails
    let two = json!({ "model": "scumble/starter", "prompt": "x", "stream": true, "n": 5 });
    let call = tokio::spawn(post(&server, GENERATIONS, &two).send());
    runner.begun().await;
    runner.fail_first(1);
    runner.allow(1000);
    let found = events(call.await.unwrap().unwrap()).await;
    let (name, data) = found.last().unwrap();
    assert_eq!((name.as_str(), &data["error"]["type"]), ("error", &json!("server_error")));
    assert_eq!(found.len(), 5, "four pictures of the first job, and the error");
}

#[tokio::test]
async fn a_caller_who_goes_away_cancels_the_job() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let call = tokio::spawn(post(&server, GENERATIONS, &body(3, 1)).send());
    runner.begun().await;
    call.abort();
    until("it is cancelled", async || cancelled(&server).await == 1).await;
}
