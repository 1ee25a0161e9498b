//! `/metrics`: who may read them, what they say, and that no caller can make them more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use scumble_meters::Meters;
use scumble_server::{AppState, Config, listen};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

async fn server_with(config: Config) -> TestServer {
    TestServer::with(Setup { server: config, ..Setup::default() }, &FakeRunner::free()).await
}

fn ask(server: &TestServer) -> RequestBuilder {
    server.request(Method::GET, "/metrics")
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

async fn text(server: &TestServer) -> String {
    let answer = ask(server).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.text().await.unwrap()
}

/// The number of a series, if it is there.
fn found(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// The number of a series, which has to be there.
fn number(text: &str, series: &str) -> f64 {
    found(text, series).unwrap_or_else(|| panic!("{series} is missing in {text}"))
}

/// The same, once it is this: what is counted after an answer may come a moment later.
async fn becomes(server: &TestServer, series: &str, wanted: f64) {
    let counted = async {
        while found(&text(server).await, series) != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap_or_else(|_| panic!("{series} is not {wanted}"));
}

async fn appears(server: &TestServer, series: &str) {
    let there = async {
        while found(&text(server).await, series).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.unwrap_or_else(|_| panic!("there is no {series}"));
}

#[tokio::test]
async fn without_keys_only_this_machine_reads_them() {
    let server = server_with(Config::default()).await;
    assert_eq!(status(ask(&server)).await, 200);
    for (name, value) in [
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-for", "203.0.113.7"),
        ("via", "1.1 proxy"),
    ] {
        assert_eq!(status(ask(&server).header(name, value)).await, 403, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_server_that_is_open_to_everybody_still_keeps_them() {
    let server = server_with(Config { open: true, ..Config::default() }).await;
    let through_a_proxy = |path: &str| server.request(Method::GET, path).header("x-forwarded-for", "203.0.113.7");
    assert_eq!(status(through_a_proxy("/v1/models")).await, 200, "calls are for everybody");
    let refused = through_a_proxy("/metrics").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let said: Value = refused.json().await.unwrap();
    assert!(said["detail"].as_str().unwrap().contains("--metrics-listen"), "{said}");
    assert_eq!(status(ask(&server)).await, 200);
}

#[tokio::test]
async fn a_trusted_proxy_brings_them_to_this_machine_only() {
    let server = server_with(Config { trusted_proxy: true, ..Config::default() }).await;
    assert_eq!(status(ask(&server).header("x-forwarded-for", "127.0.0.1")).await, 200);
    assert_eq!(status(ask(&server).header("x-forwarded-for", "127.0.0.1, 203.0.113.7")).await, 403);
}

#[tokio::test]
async fn with_keys_a_key_is_needed_from_everywhere() {
    let server = server_with(Config::default()).await;
    let key = server.key().await;
    assert_eq!(status(ask(&server)).await, 401, "a proxy on this machine looks like this machine");
    assert_eq!(status(ask(&server).header("authorization", "Key a:b")).await, 401);
    assert_eq!(status(ask(&server).header("authorization", format!("Key {key}"))).await, 200);
    assert_eq!(status(ask(&server).header("authorization", format!("Bearer {key}"))).await, 200);
    let token = server.request(Method::POST, "/rest/tokens/").header("authorization", format!("Key {key}"));
    let token: String = token.json(&json!({ "allowed_apps": ["starter"] })).send().await.unwrap().json().await.unwrap();
    assert_eq!(status(server.request(Method::GET, &format!("/metrics?fal_jwt_token={token}"))).await, 401);
}

#[tokio::test]
async fn the_owner_names_the_keys_that_may() {
    let meters = Meters::new();
    let server = server_with(Config { metrics_keys: vec!["nobodys".to_owned()], meters, ..Config::default() }).await;
    let key = server.key().await;
    assert_eq!(status(ask(&server).header("authorization", format!("Key {key}"))).await, 403);
    let id = key.split(':').next().unwrap().to_owned();
    let named = server_with(Config { metrics_keys: vec![id.clone()], ..Config::default() }).await;
    let (_, secret, hash) = scumble_server::new_key();
    named.store.create_key(&id, "named", hash).await.unwrap();
    assert_eq!(status(ask(&named).header("authorization", format!("Key {}", secret.reveal()))).await, 200);
}

/// The life of jobs as it is counted: accepted, waiting, at work, ended in each way.
#[tokio::test]
async fn jobs_are_counted_by_endpoint_and_state() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let [running, waiting] = [server.submit(&star()).await, server.submit(&star()).await];
    runner.begun().await;
    let label = |name: &str, state: &str| format!("{name}{{endpoint=\"{ENDPOINT}\",state=\"{state}\"}}");
    let one = |name: &str| format!("{name}{{endpoint=\"{ENDPOINT}\"}}");
    let seen = text(&server).await;
    assert_eq!(number(&seen, &one("scumble_jobs_accepted_total")), 2.0);
    assert_eq!(number(&seen, &label("scumble_jobs", "running")), 1.0);
    assert_eq!(number(&seen, &label("scumble_jobs", "queued")), 1.0);
    assert!(number(&seen, &one("scumble_queue_oldest_seconds")) >= 0.0);
    assert_eq!(number(&seen, "scumble_store_up"), 1.0);
    let cancel = waiting["cancel_url"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
    assert_eq!(status(server.request(Method::PUT, &cancel)).await, 200);
    runner.allow(100);
    server.ended(&running).await;
    server.submit(&json!({ "prompt": 5 })).await;
    becomes(&server, &label("scumble_jobs_ended_total", "done"), 1.0).await;
    becomes(&server, &label("scumble_jobs_ended_total", "cancelled"), 1.0).await;
    becomes(&server, &label("scumble_jobs_ended_total", "failed"), 1.0).await;
    let seen = text(&server).await;
    assert_eq!(number(&seen, &format!("scumble_job_wait_seconds_count{{endpoint=\"{ENDPOINT}\"}}")), 1.0);
    assert_eq!(number(&seen, &format!("scumble_job_run_seconds_count{{endpoint=\"{ENDPOINT}\"}}")), 1.0);
    let denoise = format!("scumble_job_stage_seconds_count{{endpoint=\"{ENDPOINT}\",stage=\"denoise\"}}");
    assert_eq!(number(&seen, &denoise), 1.0);
    assert!(number(&seen, "scumble_store_commit_seconds_count") > 0.0);
    assert!(number(&seen, "scumble_store_flush_seconds_count") > 0.0);
    assert!(number(&seen, "scumble_database_bytes") > 0.0);
    assert!(number(&seen, "scumble_http_responses_total{code=\"2xx\"}") >= 4.0);
    assert!(number(&seen, "scumble_connections{room=\"served\"}") >= 1.0);
    assert!(number(&seen, "scumble_held_bytes_limit") > 0.0);
}

#[tokio::test]
async fn files_are_counted_beside_the_answer() {
    let server = server_with(Config::default()).await;
    let submitted = server.submit(&star()).await;
    server.ended(&submitted).await;
    becomes(&server, "scumble_files", 1.0).await;
    assert!(number(&text(&server).await, "scumble_files_bytes") > 0.0);
}

/// Whatever strangers call, the series are those of the catalogue.
#[tokio::test]
async fn callers_add_no_series() {
    let server = server_with(Config::default()).await;
    let names = |text: &str| -> BTreeSet<String> {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        series.map(|(series, _)| series.to_owned()).collect()
    };
    text(&server).await;
    becomes(&server, "scumble_files", 0.0).await;
    // the worker tells of itself when it begins
    appears(&server, "scumble_worker_slots{kind=\"far\"}").await;
    let before = names(&text(&server).await);
    for n in 0..50 {
        for path in [format!("/run/a/b{n}"), format!("/queue/evil{n}\"}} 1/x"), format!("/{n}"), "/run/".into()] {
            let _ = server.request(Method::POST, &path).header(format!("x-{n}"), "y").json(&star()).send().await;
        }
        let options = server.request(Method::from_bytes(format!("M{n}").as_bytes()).unwrap(), "/metrics");
        assert_eq!(options.send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    let after = names(&text(&server).await);
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(after.len() < 1_000, "{} series", after.len());
}

/// A database that is closed does not keep the rest from being seen.
#[tokio::test]
async fn what_was_true_before_the_database_went_away_is_not_shown() {
    let server = server_with(Config::default()).await;
    server.submit(&star()).await;
    let files = scumble_files::Files::open("memory:").unwrap();
    let clock = std::sync::Arc::new(scumble_store::SystemClock);
    let state = AppState::new(server.store.clone(), files, clock, Config::default());
    let own = own_address(state).await;
    let client = reqwest::Client::new();
    let read = async || client.get(&own).send().await.unwrap().text().await.unwrap();
    assert_eq!(number(&read().await, "scumble_store_up"), 1.0);
    server.store.close().await;
    let gone = async {
        // what was seen is shown again for some seconds
        while number(&read().await, "scumble_store_up") > 0.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    let seen = read().await;
    assert!(!seen.contains("\nscumble_database_bytes "), "{seen}");
    assert!(number(&seen, "scumble_http_responses_total{code=\"2xx\"}") > 0.0);
}

async fn own_address(state: AppState) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let router = scumble_server::metrics_router(&state);
    tokio::spawn(listen::serve(listener, router, listen::Listening::default(), CancellationToken::new()));
    url
}

#[tokio::test]
async fn an_address_of_their_own_asks_nobody_who_they_are() {
    let server = server_with(Config::default()).await;
    server.key().await;
    let files = scumble_files::Files::open("memory:").unwrap();
    let clock = std::sync::Arc::new(scumble_store::SystemClock);
    let state = AppState::new(server.store.clone(), files, clock, Config::default());
    let own = own_address(state).await;
    let client = reqwest::Client::new();
    assert_eq!(status(client.get(&own)).await, 200);
    assert_eq!(status(client.get(own.replace("/metrics", "/health"))).await, 200);
    assert_eq!(status(client.get(own.replace("/metrics", "/v1/models"))).await, 404);
    assert_eq!(status(client.post(&own)).await, 405);
    // a page that somebody on this machine looks at
    assert_eq!(status(client.get(&own).header("origin", "https://evil.example")).await, 403);
    assert_eq!(status(client.get(&own).header("sec-fetch-site", "same-origin")).await, 403);
    assert_eq!(status(client.get(&own).header("host", "evil.example")).await, 403);
}

/// Somebody who asks and goes away, again and again, leaves nothing behind.
#[tokio::test]
async fn who_hangs_up_keeps_nothing() {
    let server = server_with(Config::default()).await;
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    }
    becomes(&server, "scumble_connections{room=\"served\"}", 1.0).await;
}
