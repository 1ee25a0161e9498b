//! 10,000 requests that nobody should send, over raw sockets. They get documented errors or a closed connection; no
//! handler panics, memory does not grow, and the next caller is served as if nothing had been.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod requests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use requests::{Malformed, Random};

const REQUESTS: u64 = 10_000;
const AT_ONCE: u64 = 64;
/// So many problems are told, and of each request and answer so much.
const TOLD: usize = 12;
const TOLD_BYTES: usize = 1500;
/// How much more memory may be in use at the end; it is a few megabytes, while one leaked body each would be hundreds.
const GROWTH_BYTES: u64 = 96 * 1024 * 1024;
/// What a request that looks whole gets to be answered before its caller hangs up.
const WAIT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// What a mistake of the caller's may lead to, and success where the request happens to be good.
const STATUSES: &[u16] =
    &[101, 200, 202, 204, 206, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 416, 422, 426, 429, 431];
/// What is wrong with the request line or its headers is refused before there is a request: without a body.
const WITHOUT_BODY: &[u16] = &[400, 414, 431];

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_get_documented_errors_and_leave_no_trace() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let server = TestServer::new(&FakeRunner::free()).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    send_all(&address, 0..REQUESTS / 10).await;
    let before = resident_bytes();
    send_all(&address, REQUESTS / 10..REQUESTS).await;
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "no panic anywhere");
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after < before + GROWTH_BYTES, "{before} bytes in memory became {after}");
    }
    let input = json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
    let submitted = server.submit(&input).await;
    assert_eq!(server.ended(&submitted).await["error"], Value::Null);
}

async fn send_all(address: &str, numbers: std::ops::Range<u64>) {
    let mut senders = JoinSet::new();
    for sender in 0..AT_ONCE {
        let (address, numbers) = (address.to_owned(), numbers.clone());
        senders.spawn(async move {
            let mut problems = Vec::new();
            for number in numbers.filter(|n| n % AT_ONCE == sender) {
                problems.extend(send(&address, number).await.err());
            }
            problems
        });
    }
    let problems = senders.join_all().await.concat();
    let told = problems[..problems.len().min(TOLD)].join("\n\n");
    assert!(problems.is_empty(), "{} problems:\n\n{told}", problems.len());
}

/// What is wrong with the answer to the request of this number.
async fn send(address: &str, number: u64) -> Result<(), String> {
    let request = Malformed::make(&mut Random::new(number));
    let told = format!("request {number}: {:.TOLD_BYTES$}", request.to_string());
    let answer = tokio::time::timeout(PATIENCE, exchange(address, &request)).await;
    let answer = answer.map_err(|_| format!("no end after {told}"))?;
    check(&answer).map_err(|problem| {
        let answer = String::from_utf8_lossy(&answer);
        format!("{problem}\n{told}\nanswer: {answer:.TOLD_BYTES$}")
    })
}

/// Everything the server says to a request, until it or the caller hangs up.
async fn exchange(address: &str, request: &Malformed) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // a server that has heard enough closes its end, which is no mistake
    if stream.write_all(&request.bytes).await.is_ok() {
        if request.looks_whole {
            let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut answer)).await;
        }
        let _ = stream.shutdown().await;
    }
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

fn check(answer: &[u8]) -> Result<(), String> {
    // hanging up on half a request
    if answer.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(answer);
    // what it says before it has heard the body
    let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text);
    if text.is_empty() {
        return Ok(());
    }
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no end of headers")?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    let status = status.ok_or("the answer has no status")?;
    if !STATUSES.contains(&status) {
        return Err(format!("status {status} is not documented"));
    }
    let head = head.to_ascii_lowercase();
    if status < 400 || (WITHOUT_BODY.contains(&status) && head.contains("\r\ncontent-length: 0")) {
        return Ok(());
    }
    if !head.contains("\r\ncontent-type: application/json") || !head.contains("\r\nx-fal-request-id: ") {
        return Err("an error is JSON and has a request id".into());
    }
    let length: usize = header(&head, "content-length").and_then(|l| l.parse().ok()).ok_or("no length")?;
    // an answer to HEAD has the length of a body and none; the next answer may follow
    match body.get(..length) {
        _ if body.is_empty() || body.starts_with("HTTP/1.") => Ok(()),
        Some(json) => serde_json::from_str::<Value>(json).map(|_| ()).map_err(|e| format!("the body is no JSON: {e}")),
        None => Err("the body is shorter than it says".into()),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Memory in RAM, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: u64| kib * 1024)
}
