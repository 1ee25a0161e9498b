//! The real server, ended at the worst moments and started again. Whatever it acknowledged has one result afterwards,
//! the pictures are there, and the database is intact.
//!
//! `SCUMBLE_TORTURE_SECONDS` makes the random kills go on for longer than the few that every run makes. A database that
//! restarts is in `database_restarts.rs`; clocks that jump, which are the tests' own because a machine's needs privileges,
//! are in the server's `clock_jumps.rs` and in the store's suite.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use scumble_store::{DeliveryState, EventKind, JobId, Options, SqliteStore, Store};
use scumble_testkit::catcher::{Answer, Catcher, Caught};
use serde_json::{Value, json};
use tempfile::TempDir;

const ENDPOINT: &str = "fal-ai/flux/schnell";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A receiver that says nothing is waited for longer than anything here takes.
const CONFIG: &str = "[worker]\nheartbeat_s = 1\n[webhooks]\nallow_private = true\ntimeout_s = 300\n";

/// A data dir, and the requests that were acknowledged on it.
struct Place {
    folder: TempDir,
    acknowledged: Vec<String>,
}

/// A running server. Dropping it kills it.
struct Server {
    child: Child,
    url: String,
    client: Client,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scumble.toml"), CONFIG).unwrap();
        Self { folder, acknowledged: Vec::new() }
    }

    /// Starts the server; `shell` runs first, in the shell that becomes it.
    fn start(&self, shell: &str, args: &[&str]) -> Server {
        let config = self.folder.path().join("scumble.toml");
        let mut child = Command::new("sh")
            .args(["-c", &format!("{shell}\nexec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_scumble")])
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .arg("--data-dir")
            .arg(self.folder.path())
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("RUST_LOG", "off")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, line) = std::sync::mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            // the other end stays open, or the next line would end the server
            let _ = said.send(stdout.read_line(&mut line).map(|_| (line, stdout)));
        });
        let Ok(Ok((line, stdout))) = line.recv_timeout(PATIENCE) else {
            let _ = (child.kill(), child.wait());
            panic!("the server does not say where it listens");
        };
        child.stdout = Some(stdout.into_inner());
        let url = format!("http://{}", line.trim().rsplit_once("http://").expect("an address").1);
        // the client asks for one even where it will not encrypt anything
        let _ = rustls::crypto::ring::default_provider().install_default();
        // nothing is waited for longer than that
        let client = Client::builder().timeout(PATIENCE).build().unwrap();
        Server { child, url, client }
    }

    /// Submits, and remembers what was acknowledged. False when the server did not acknowledge it.
    async fn submit(&mut self, server: &Server) -> bool {
        self.submit_to(server, "").await
    }

    /// The same with a query.
    async fn submit_to(&mut self, server: &Server, query: &str) -> bool {
        let input = json!({
            "prompt": format!("picture {}", self.acknowledged.len()),
            "image_size": { "width": 64, "height": 64 },
            "num_inference_steps": 1,
        });
        let sent = server.client.post(format!("{}/queue/{ENDPOINT}{query}", server.url)).json(&input).send().await;
        let Ok(answer) = sent else { return false };
        let status = answer.status();
        let Ok(body) = answer.json::<Value>().await else { return false };
        if status != 200 {
            assert_eq!(status, 500, "an error of the server's own: {body}");
            assert!(body["detail"].is_string(), "errors are told in JSON: {body}");
            return false;
        }
        self.acknowledged.push(body["request_id"].as_str().unwrap().to_owned());
        true
    }

    /// Submits with a webhook; the request's id.
    async fn submit_with_webhook(&mut self, server: &Server, receiver: &str) -> String {
        assert!(self.submit_to(server, &format!("?fal_webhook={receiver}")).await, "a server that is up acknowledges");
        self.acknowledged.last().unwrap().clone()
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(self.folder.path().join("scumble.db"), Options::default()).await.unwrap()
    }

    /// What the receivers of a request's webhook answered, once one has taken it.
    async fn delivered(&self, id: &str) -> Vec<Option<u16>> {
        let (began, store) = (Instant::now(), self.store().await);
        loop {
            // there is none before the request has ended
            let deliveries = store.deliveries(id.parse::<JobId>().unwrap()).await.unwrap();
            if let Some(delivered) = deliveries.iter().find(|d| d.state == DeliveryState::Delivered) {
                store.close().await;
                return delivered.log.iter().map(|attempt| attempt.status).collect();
            }
            assert!(began.elapsed() < PATIENCE, "the webhook of {id} is not delivered: {deliveries:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the server unharmed, waits until everything acknowledged has ended, and looks at all of it.
    async fn everything_survived(self, kills: usize) {
        assert!(!self.acknowledged.is_empty());
        let server = self.start("", &["--stand-in=0"]);
        for id in &self.acknowledged {
            server.ended(id).await;
            server.has_one_good_result(id, kills).await;
        }
        drop(server);
        let store = self.store().await;
        assert_eq!(store.problems().await.unwrap(), Vec::<String>::new(), "the database is intact");
        for id in &self.acknowledged {
            let events = store.events(id.parse::<JobId>().unwrap(), 0).await.unwrap();
            let is_end = |kind: &EventKind| matches!(kind, EventKind::State { state, .. } if state.is_end());
            let ends = events.iter().filter(|event| is_end(&event.kind)).count();
            assert_eq!(ends, 1, "{id} has ended once: {events:?}");
        }
        store.close().await;
    }
}

impl Server {
    fn request_url(&self, id: &str) -> String {
        format!("{}/queue/fal-ai/flux/requests/{id}", self.url)
    }

    async fn ended(&self, id: &str) {
        let began = Instant::now();
        loop {
            let answer = self.client.get(format!("{}/status", self.request_url(id))).send().await.unwrap();
            assert!(answer.status().is_success(), "{id} was acknowledged and is gone");
            if answer.json::<Value>().await.unwrap()["status"] == "COMPLETED" {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{id} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same answer twice, and the picture that it promises. A request that was at work at three kills is set
    /// aside, which is a result too.
    async fn has_one_good_result(&self, id: &str, kills: usize) {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = self.client.get(self.request_url(id)).send().await.unwrap();
            answers.push((answer.status().as_u16(), answer.json::<Value>().await.unwrap()));
        }
        assert_eq!(answers[0], answers[1]);
        let (status, body) = &answers[0];
        if kills >= 3 && body["error_type"] == "runner_disconnected" {
            return;
        }
        assert_eq!(*status, 200, "{body}");
        let picture = self.client.get(body["images"][0]["url"].as_str().unwrap()).send().await.unwrap();
        let picture = image::load_from_memory(&picture.bytes().await.unwrap()).expect("the picture is whole");
        assert_eq!((picture.width(), picture.height()), (64, 64));
    }

    /// Kills the process: nothing is finished, nothing given back.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Until the process has ended by itself.
    async fn exit(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Ends the server at a point, with requests before, at and behind it.
async fn ended_at(point: &str) {
    let mut place = Place::new();
    let server = place.start("", &["--stand-in=0", "--fault", point]);
    while place.acknowledged.len() < 12 && place.submit(&server).await {}
    let status = server.exit().await;
    assert_eq!(status.signal(), Some(6), "it ended itself at {point}");
    place.everything_survived(1).await;
}

#[tokio::test]
async fn an_end_before_a_claim_loses_nothing() {
    // the fourth look is for the second request, which is sent once the first is acknowledged; the third may come before
    ended_at("before-claim:4").await;
}

#[tokio::test]
async fn an_end_after_a_run_loses_nothing() {
    ended_at("after-run:2").await;
}

#[tokio::test]
async fn an_end_before_a_file_is_stored_loses_nothing() {
    ended_at("before-file:2").await;
}

#[tokio::test]
async fn an_end_between_file_and_outcome_loses_nothing() {
    ended_at("before-commit:2").await;
}

/// The request that a webhook tells of, said by header and body alike.
fn request_of(caught: &Caught) -> String {
    let body: Value = serde_json::from_slice(&caught.body).unwrap();
    assert_eq!(body["request_id"], caught.headers["x-fal-webhook-request-id"].to_str().unwrap());
    assert_eq!(body["status"], "OK", "{body}");
    body["request_id"].as_str().unwrap().to_owned()
}

/// At least once: who dies between the receiver's answer and the note of it delivers again. The lease has to end first,
/// which takes a little longer than the attempt may.
#[tokio::test]
async fn an_end_in_a_delivery_delivers_again() {
    let mut place = Place::new();
    let config = CONFIG.replace("timeout_s = 300", "timeout_s = 1");
    std::fs::write(place.folder.path().join("scumble.toml"), config).unwrap();
    let receiver = Catcher::new([Answer::Status(200)]).await;
    let server = place.start("", &["--stand-in=0", "--fault", "in-delivery"]);
    let id = place.submit_with_webhook(&server, &receiver.url).await;
    assert_eq!(server.exit().await.signal(), Some(6), "it ended itself in the delivery");
    assert_eq!(receiver.so_far().iter().map(request_of).collect::<Vec<_>>(), [id.as_str()]);
    let server = place.start("", &["--stand-in=0"]);
    assert_eq!(place.delivered(&id).await, [Some(200)], "the attempt that nobody noted is none");
    assert_eq!(receiver.so_far().iter().map(request_of).collect::<Vec<_>>(), [id.as_str(), id.as_str()]);
    drop(server);
    place.everything_survived(1).await;
}

#[tokio::test]
async fn a_receiver_that_fails_twice_gets_the_same_webhook_until_it_takes_it() {
    let mut place = Place::new();
    let receiver = Catcher::new([500, 503, 200].map(Answer::Status)).await;
    let server = place.start("", &["--stand-in=0"]);
    let id = place.submit_with_webhook(&server, &receiver.url).await;
    assert_eq!(place.delivered(&id).await, [Some(500), Some(503), Some(200)]);
    let caught = receiver.so_far();
    assert_eq!(caught.iter().map(request_of).collect::<Vec<_>>(), vec![id; 3]);
    assert!(caught.iter().all(|c| c.body == caught[0].body), "each attempt brings the same");
}

#[tokio::test]
async fn a_receiver_that_says_nothing_holds_up_no_other() {
    let mut place = Place::new();
    let silent = Catcher::new([Answer::Silence]).await;
    let quick = Catcher::new([Answer::Status(200)]).await;
    let server = place.start("", &["--stand-in=0"]);
    for _ in 0..12 {
        place.submit_with_webhook(&server, &silent.url).await;
    }
    assert!(!silent.caught(4).await.is_empty());
    // another name, so another receiver
    let id = place.submit_with_webhook(&server, &quick.url.replace("127.0.0.1", "localhost")).await;
    assert_eq!(place.delivered(&id).await, [Some(200)]);
    assert_eq!(silent.so_far().len(), 4, "few at a time");
}

#[tokio::test]
async fn kills_at_random_times_under_300_queued_requests_lose_nothing() {
    let seconds = std::env::var("SCUMBLE_TORTURE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    let (began, mut place, mut kills) = (Instant::now(), Place::new(), 0);
    let mut random = Random(0x5eed);
    while began.elapsed() < Duration::from_secs(seconds) || place.acknowledged.len() < 300 {
        let server = place.start("", &["--stand-in=5"]);
        let until = Instant::now() + Duration::from_millis(100 + random.next() % 1500);
        while Instant::now() < until {
            if place.acknowledged.len() < 300 {
                assert!(place.submit(&server).await, "a server that is up acknowledges");
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        server.kill();
        kills += 1;
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(seconds), "300 requests were not acknowledged");
    }
    place.everything_survived(kills).await;
}

/// A limit on the size of files stands in for a disk that is full; the signal that comes with it is ignored, so that
/// writes fail instead.
#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let mut place = Place::new();
    let server = place.start("trap '' XFSZ; ulimit -f 1024", &["--stand-in=0"]);
    let began = Instant::now();
    while place.submit(&server).await {
        assert!(began.elapsed() < PATIENCE, "the disk does not fill up");
    }
    let health = server.client.get(format!("{}/health", server.url)).send().await.unwrap();
    assert_eq!(health.status(), 200, "the server is still there");
    server.kill();
    place.everything_survived(1).await;
}

/// The pictures of direct calls that were answered, by their paths.
#[derive(Default)]
struct Answered(Vec<(String, Vec<u8>)>);

impl Answered {
    /// Calls directly and fetches the picture. Where it is refused, with what.
    async fn call(&mut self, server: &Server) -> Result<(), StatusCode> {
        let input = json!({ "prompt": "a", "image_size": { "width": 64, "height": 64 } });
        let call = server.client.post(format!("{}/run/{ENDPOINT}", server.url)).json(&input);
        let answer = call.send().await.unwrap();
        if answer.status() != StatusCode::OK {
            return Err(answer.status());
        }
        let output: Value = answer.json().await.unwrap();
        let url = output["images"][0]["url"].as_str().unwrap();
        let picture = server.client.get(url).send().await.unwrap();
        assert_eq!(picture.status(), StatusCode::OK, "{url}");
        let path = url.split_once("/files/").unwrap().1.to_owned();
        self.0.push((path, picture.bytes().await.unwrap().to_vec()));
        Ok(())
    }

    /// All of them are there.
    async fn are_there(&self, server: &Server) {
        for (path, bytes) in &self.0 {
            let picture = server.client.get(format!("{}/cdn/files/{path}", server.url)).send().await.unwrap();
            assert_eq!(picture.status(), StatusCode::OK, "{path}");
            assert_eq!(picture.bytes().await.unwrap(), bytes.as_slice(), "{path}");
        }
    }
}

#[tokio::test]
async fn answered_direct_calls_keep_their_pictures() {
    let (place, mut answered) = (Place::new(), Answered::default());
    for _ in 0..3 {
        let server = place.start("", &["--stand-in=0"]);
        answered.are_there(&server).await;
        for _ in 0..10 {
            answered.call(&server).await.unwrap();
        }
        server.kill();
    }
    let server = place.start("", &["--stand-in=0"]);
    answered.are_there(&server).await;
    drop(server);
    assert_eq!(place.store().await.problems().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_full_disk_is_told_to_direct_callers() {
    let (place, mut answered) = (Place::new(), Answered::default());
    let server = place.start("trap '' XFSZ; ulimit -f 1024", &["--stand-in=0"]);
    let began = Instant::now();
    let refused = loop {
        assert!(began.elapsed() < PATIENCE, "the disk does not fill up");
        if let Err(status) = answered.call(&server).await {
            break status;
        }
    };
    // by who accepts it, or because nobody can claim it
    let told = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];
    assert!(told.contains(&refused), "{refused}");
    answered.are_there(&server).await;
    server.kill();
    let server = place.start("", &["--stand-in=0"]);
    answered.are_there(&server).await;
    answered.call(&server).await.unwrap();
}

/// The disk fills up while a call that stands in line is under way: accepting it was the last that fitted, or the claim was.
/// Its caller hears of that, and whoever watches the server does too.
#[tokio::test]
async fn a_full_disk_is_told_to_callers_in_line() {
    let (place, input) = (Place::new(), json!({ "prompt": "a", "image_size": { "width": 64, "height": 64 } }));
    let server = place.start("trap '' XFSZ; ulimit -f 1024", &["--stand-in=0"]);
    let began = Instant::now();
    let refused = loop {
        assert!(began.elapsed() < PATIENCE, "the disk does not fill up");
        // what has a hint never goes from hand to hand
        let call = server.client.post(format!("{}/run/{ENDPOINT}", server.url)).header("x-fal-runner-hint", "h");
        let answer = call.json(&input).send().await.unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
    };
    let told = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];
    assert!(told.contains(&refused.status()), "{}", refused.status());
    let unready = async {
        while server.client.get(format!("{}/ready", server.url)).send().await.unwrap().status() == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, unready).await.expect("a server that cannot write is not ready");
}

/// What a killed process had at work comes before what was behind it, at once and not when its lease would have ended.
#[tokio::test]
async fn after_a_kill_interrupted_requests_go_first() {
    let mut place = Place::new();
    std::fs::write(place.folder.path().join("scumble.toml"), CONFIG.replace("heartbeat_s = 1", "heartbeat_s = 60"))
        .unwrap();
    let server = place.start("", &["--stand-in=60000"]);
    for _ in 0..3 {
        assert!(place.submit(&server).await);
    }
    let began = Instant::now();
    loop {
        let status = server.client.get(format!("{}/status", server.request_url(&place.acknowledged[0]))).send().await;
        if status.unwrap().json::<Value>().await.unwrap()["status"] == "IN_PROGRESS" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the first is not taken up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill();
    let server = place.start("", &["--stand-in=50"]);
    for id in &place.acknowledged {
        server.ended(id).await;
    }
    drop(server);
    let store = place.store().await;
    let mut began = Vec::new();
    for id in &place.acknowledged {
        began.push(store.job(id.parse().unwrap()).await.unwrap().unwrap().started_ms.unwrap());
    }
    assert!(began.is_sorted(), "they began in the order in which they were accepted: {began:?}");
    store.close().await;
}

/// xorshift64*: the same kills in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}
