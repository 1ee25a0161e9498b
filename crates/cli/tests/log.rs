//! What `serve` writes on stderr where programs read it: objects, one a line, from the first to the last.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, plain, star};
use serde_json::{Value, json};

/// Every line as an object, with what each has to have.
fn objects(text: &str) -> Vec<Value> {
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    for line in &lines {
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{name} of {line}");
        }
    }
    lines
}

#[cfg(unix)]
#[tokio::test]
async fn every_job_is_named_and_every_line_is_an_object() {
    let desk = Desk::new();
    desk.write("scumble.toml", "[log]\nformat = \"json\"\n");
    let serving = desk.serve_logging(&["--config", "scumble.toml", "--stand-in"], &[], "log");
    let (client, url) = (plain(), serving.url("/queue/fal-ai/flux/schnell"));
    let mut ids = Vec::new();
    for input in [star(), json!({ "prompt": 5 })] {
        let submitted: Value = client.post(&url).json(&input).send().await.unwrap().json().await.unwrap();
        ids.push(submitted["request_id"].clone());
    }
    let direct = client.post(serving.url("/run/fal-ai/flux/schnell")).json(&star()).send().await.unwrap();
    ids.push(direct.headers()["x-fal-request-id"].to_str().unwrap().into());
    // what is at hand is finished before it ends
    tokio::task::spawn_blocking(|| serving.stop()).await.unwrap();
    let lines = objects(&std::fs::read_to_string(desk.path("log")).unwrap());
    for id in ids.iter().skip(1) {
        assert!(lines.iter().any(|line| line["job.id"] == *id), "{id} is in no line of {lines:#?}");
    }
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}

#[test]
fn a_format_that_is_none_is_told() {
    let desk = Desk::new();
    desk.write("scumble.toml", "[log]\nformat = \"xml\"\n");
    desk.refuses(&["serve", "--data-dir", "data", "--config", "scumble.toml"], 2, &["line 2", "text, json", "xml"]);
    desk.refuses(&["serve", "--log-format", "xml"], 2, &["--log-format", "text, json", "xml"]);
}

#[test]
fn why_it_does_not_start_is_an_object_too() {
    let desk = Desk::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said =
        desk.refuses(&["serve", "--data-dir", "data", "--log-format", "json", "--listen", &address], 4, &["is in use"]);
    assert!(objects(&said).iter().any(|line| line["level"] == "ERROR"), "{said}");
    let said = desk.refuses(&["serve", "--log-format=json", "--lisen", "1"], 2, &["--lisen"]);
    assert_eq!(objects(&said).len(), 1, "{said}");
    desk.write("scumble.toml", "[log]\nformat = \"json\"\n[server]\nlisen = 1\n");
    let said = desk.refuses(&["serve", "--data-dir", "data", "--config", "scumble.toml"], 2, &["did you mean listen?"]);
    assert_eq!(objects(&said)[0]["level"], "ERROR", "{said}");
}

/// A collector that cannot be meant is told before anything starts.
#[test]
fn a_word_about_traces_that_cannot_be_followed_is_told() {
    let desk = Desk::new();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "not a url"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
    ] {
        let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9").env(name, value);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("OTEL_"), "{name}: {said}");
    }
}
