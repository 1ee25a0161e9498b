//! 10,000 requests, WebSocket sessions, requests for events and uploads that nobody should send, over raw sockets. They
//! get documented errors or a proper end; no handler panics, memory does not grow, and the next caller is served as if
//! nothing had been. A number stands for the same in every run, and a problem is told with its number.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod events;
mod random;
mod requests;
mod sessions;
mod uploads;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use events::Events;
use random::Random;
use requests::Malformed;
use sessions::Session;
use uploads::{Tickets, Upload};

const REQUESTS: u64 = 10_000;
const AT_ONCE: u64 = 64;
/// So many problems are told, and of each request and answer so much.
const TOLD: usize = 12;
const TOLD_BYTES: usize = 1500;
/// How much more memory may be in use at the end; it is a few megabytes, while one leaked body each would be hundreds.
const GROWTH_BYTES: u64 = 96 * 1024 * 1024;
/// What a request that looks whole gets to be answered before its caller hangs up.
pub(crate) const WAIT: Duration = Duration::from_millis(300);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a mistake of the caller's may lead to, and success where the request happens to be good.
pub(crate) const STATUSES: &[u16] =
    &[101, 200, 202, 204, 206, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 416, 422, 426, 429, 431];
/// What is wrong with a head that has come together with a request before it is refused without a body.
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
    let target = Arc::new(Target::new(&server).await);
    send_all(&target, 0..REQUESTS / 10).await;
    let before = resident_bytes();
    send_all(&target, REQUESTS / 10..REQUESTS).await;
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "no panic anywhere");
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after < before + GROWTH_BYTES, "{before} bytes in memory became {after}");
    }
    let submitted = server.submit(&star()).await;
    assert_eq!(server.ended(&submitted).await["error"], Value::Null);
}

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

/// Where everything is sent.
struct Target {
    address: String,
    tickets: Tickets,
    /// The path of an ended request's status.
    status: String,
}

impl Target {
    async fn new(server: &TestServer) -> Self {
        let submitted = server.submit(&star()).await;
        server.ended(&submitted).await;
        Self {
            address: server.url.strip_prefix("http://").unwrap().to_owned(),
            tickets: Tickets::get(server).await,
            status: submitted["status_url"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned(),
        }
    }

    /// What is wrong with what comes of this number.
    async fn send(&self, number: u64) -> Result<(), String> {
        let random = &mut Random::new(number);
        match number % 8 {
            0..=3 => told(number, Malformed::make(random), async |it| it.run(&self.address).await).await,
            4 | 5 => told(number, Session::make(random), async |it| it.run(&self.address).await).await,
            6 => told(number, Events::make(random, &self.status), async |it| it.run(&self.address).await).await,
            _ => told(number, Upload::make(random, &self.tickets), async |it| it.run(&self.address).await).await,
        }
    }
}

/// What comes of something, with what it was where that is not as it should be.
async fn told<T: Display>(number: u64, it: T, run: impl AsyncFnOnce(&T) -> Result<(), String>) -> Result<(), String> {
    let told = || format!("number {number}: {:.TOLD_BYTES$}", it.to_string());
    match tokio::time::timeout(PATIENCE, run(&it)).await {
        Ok(done) => done.map_err(|problem| format!("{problem}\n{}", told())),
        Err(_) => Err(format!("no end of {}", told())),
    }
}

async fn send_all(target: &Arc<Target>, numbers: std::ops::Range<u64>) {
    let mut senders = JoinSet::new();
    for sender in 0..AT_ONCE {
        let (target, numbers) = (target.clone(), numbers.clone());
        senders.spawn(async move {
            let mut problems = Vec::new();
            // not by the remainder: each sender has all kinds
            for number in numbers.filter(|n| n / 8 % AT_ONCE == sender) {
                problems.extend(target.send(number).await.err());
            }
            problems
        });
    }
    let problems = senders.join_all().await.concat();
    let told = problems[..problems.len().min(TOLD)].join("\n\n");
    assert!(problems.is_empty(), "{} problems:\n\n{told}", problems.len());
}

impl Malformed {
    async fn run(&self, address: &str) -> Result<(), String> {
        let wait = if self.looks_whole { WAIT } else { Duration::ZERO };
        Answer::read(&exchange(address, &self.bytes, wait).await).map(drop)
    }
}

/// Everything the server says to some bytes, until it hangs up, or the caller does after a while.
pub(crate) async fn exchange(address: &str, bytes: &[u8], wait: Duration) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // a server that has heard enough closes its end, which is no mistake
    if stream.write_all(bytes).await.is_ok() {
        if !wait.is_zero() {
            let _ = tokio::time::timeout(wait, stream.read_to_end(&mut answer)).await;
        }
        let _ = stream.shutdown().await;
    }
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// An answer as it should be: a success, or an error that is documented.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// What is wrong with an answer, or it; none where the server has hung up on half a request.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let problem = |problem: &str| {
            let answer = String::from_utf8_lossy(bytes);
            Err(format!("{problem}\nanswer: {answer:.TOLD_BYTES$}"))
        };
        // what it says before it has heard the body
        let bytes = bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return problem("the answer has no end of headers");
        };
        let head = String::from_utf8_lossy(&bytes[..end]);
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
        let Some(status) = status else { return problem("the answer has no status") };
        if !STATUSES.contains(&status) {
            return problem("the status is not documented");
        }
        let answer = Self { status, head: head.to_ascii_lowercase(), body: bytes[end + 4..].to_vec() };
        match answer.check() {
            Ok(()) => Ok(Some(answer)),
            Err(wrong) => problem(&wrong),
        }
    }

    fn check(&self) -> Result<(), String> {
        let Self { status, head, body } = self;
        if *status < 400 || (WITHOUT_BODY.contains(status) && head.contains("\r\ncontent-length: 0")) {
            return Ok(());
        }
        // where people are answered, a server without keys turns away other sites' pages with a page
        let is_page = *status == 403 && self.is("text/html") && head.contains("\r\ncontent-security-policy: ");
        if !(is_page || self.is("application/json")) || !head.contains("\r\nx-fal-request-id: ") {
            return Err("an error is JSON and has a request id".into());
        }
        let length: usize = header(head, "content-length").and_then(|l| l.parse().ok()).ok_or("no length")?;
        // an answer to HEAD has the length of a body and none; the next answer may follow
        match body.get(..length) {
            _ if body.is_empty() || body.starts_with(b"HTTP/1.") => Ok(()),
            Some(page) if is_page && page.starts_with(b"<!doctype html>") => Ok(()),
            Some(_) if is_page => Err("a page that is no page".into()),
            Some(json) => {
                serde_json::from_slice::<Value>(json).map(|_| ()).map_err(|e| format!("the body is no JSON: {e}"))
            }
            None => Err("the body is shorter than it says".into()),
        }
    }

    /// Whether it is of this type.
    pub(crate) fn is(&self, content_type: &str) -> bool {
        header(&self.head, "content-type").is_some_and(|found| found.starts_with(content_type))
    }

    /// The body without the marks of its chunks.
    pub(crate) fn unchunked(&self) -> Result<Vec<u8>, String> {
        let (mut rest, mut whole) = (&self.body[..], Vec::new());
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n").ok_or("a chunk without a length")?;
            let length = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
            let length = length.ok_or("a chunk whose length is none")?;
            let chunk = rest.get(end + 2..end + 2 + length).ok_or("the last chunk is torn")?;
            if length == 0 {
                return Ok(whole);
            }
            whole.extend(chunk);
            rest = rest.get(end + 4 + length..).ok_or("a chunk without an end")?;
        }
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
