//! PostgreSQL goes away and comes back under a gateway, workers and their callers: once as it ends when it is asked to,
//! once as it ends when its machine does. Whatever was acknowledged has one result afterwards, and its webhook was
//! delivered.
//!
//! The server is the test's own, from the binaries of an installed PostgreSQL; where there are none, nothing is tested
//! and the test says so.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Desk, Serving, plain, star};
use reqwest::Client;
use scumble_store::{DeliveryState, EventKind, JobId, PostgresOptions, PostgresStore, Store};
use scumble_testkit::catcher::{Answer, Catcher};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Nobody's account: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// A PostgreSQL server of the test's own; ends with the test.
struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
    running: Option<Child>,
}

/// How a server ends.
#[derive(Clone, Copy)]
enum Stop {
    /// Its connections are cut and everything is written.
    Orderly,
    /// Nothing is written; it recovers when it starts again.
    Crash,
}

impl Postgres {
    fn new() -> Option<Self> {
        let Some(bin) = binaries() else {
            eprintln!("SKIPPED: this test needs PostgreSQL's own programs, initdb and postgres, installed");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut this = Self { folder, bin, port, running: None };
        if this.is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = this.command("initdb").args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        this.start();
        Some(this)
    }

    fn is_root(&self) -> bool {
        std::fs::metadata(self.folder.path()).unwrap().uid() == 0
    }

    /// One of its programs, on its data.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.folder.path()).env_clear().env("PGDATA", self.folder.path().join("data"));
        if self.is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it, and waits until it takes connections.
    fn start(&mut self) {
        let port = self.port.to_string();
        let mut server = self.command("postgres");
        server.args(["-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        self.running = Some(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let began = Instant::now();
        while !self.command("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).status().unwrap().success() {
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self, how: Stop) {
        let Some(mut server) = self.running.take() else { return };
        let signal = match how {
            Stop::Orderly => "-INT",
            Stop::Crash => "-QUIT",
        };
        let _ = Command::new("kill").args([signal, &server.id().to_string()]).status();
        let _ = server.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(Stop::Crash);
    }
}

/// Where PostgreSQL's programs are: on the path, or where Debian keeps them away from it.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&path));
    let has = |folder: &Path| ["initdb", "postgres", "pg_isready"].iter().all(|name| folder.join(name).is_file());
    folders.into_iter().find(|folder| has(folder))
}

/// A caller who repeats what was not acknowledged, as fal's clients do, with a word that makes it one request.
async fn submit(client: Client, url: String, word: String) -> Value {
    let began = Instant::now();
    loop {
        let sent = client.post(&url).header("idempotency-key", &word).json(&star()).send().await.unwrap();
        let (status, body) = (sent.status(), sent.json::<Value>().await.unwrap());
        if status == 200 {
            return body;
        }
        assert_eq!(status, 500, "{body}");
        assert!(body["detail"].as_str().unwrap().contains("database"), "errors say what is wrong: {body}");
        assert!(began.elapsed() < PATIENCE, "{word} is not acknowledged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks until the answer is as it should be.
async fn until(client: &Client, url: &str, what: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer = client.get(url).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null));
        if holds(status, &body) {
            return body;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {status} {body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_database_that_restarts_twice_loses_nothing() {
    let Some(mut postgres) = Postgres::new() else { return };
    let (desk, database, client) = (Desk::new(), postgres.url(), plain());
    let receiver = Catcher::new([Answer::Status(500), Answer::Status(200)]).await;
    desk.write("fast.toml", "[worker]\nheartbeat_s = 1\n[webhooks]\nallow_private = true\n");
    let shared = ["--config", "fast.toml", "--files", "files", "--database", &database];
    let gateway: Serving = desk.serve(&[&["--role", "gateway"], &shared[..]].concat());
    let work = [&["--stand-in=300"], &shared[..]].concat();
    let _workers = ["one", "two"].map(|name| desk.worker(name, &work));
    let url = gateway.url(&format!("/queue/fal-ai/flux/schnell?fal_webhook={}", receiver.url));
    let submits = |words: std::ops::Range<u32>| -> JoinSet<Value> {
        words.map(|word| submit(client.clone(), url.clone(), format!("word {word}"))).collect()
    };
    let mut submitted = submits(0..12).join_all().await;
    for (words, how) in [(12..24, Stop::Orderly), (24..36, Stop::Crash)] {
        // in the middle of a job, with others behind it and callers before the door
        let status = submitted.last().unwrap()["status_url"].as_str().unwrap();
        until(&client, status, "a job is at work", |_, status| status["status"] != "IN_QUEUE").await;
        let more = submits(words.clone());
        postgres.stop(how);
        until(&client, &gateway.url("/ready"), "the database is away", |status, _| status != 200).await;
        let health = client.get(gateway.url("/health")).send().await.unwrap();
        assert_eq!(health.status(), 200, "the gateway lives without it");
        postgres.start();
        submitted.extend(more.join_all().await);
        // the words of before mean the requests of before
        let again = submits(words).join_all().await;
        let ids = |all: &[Value]| all.iter().map(|one| one["request_id"].to_string()).collect::<BTreeSet<_>>();
        assert!(ids(&again).is_subset(&ids(&submitted)));
    }
    let store = PostgresStore::open(&database, PostgresOptions::default()).await.unwrap();
    for request in &submitted {
        ended_once(&client, &store, request).await;
    }
    delivered(&store, &receiver, &submitted).await;
    store.close().await;
}

/// The request has one end, and a result with its picture.
async fn ended_once(client: &Client, store: &PostgresStore, request: &Value) {
    let output =
        until(client, request["response_url"].as_str().unwrap(), "the result", |status, _| status == 200).await;
    let picture = client.get(output["images"][0]["url"].as_str().unwrap()).send().await.unwrap();
    let picture = image::load_from_memory(&picture.bytes().await.unwrap()).expect("the picture is whole");
    assert_eq!((picture.width(), picture.height()), (64, 64));
    let events = store.events(id(request), 0).await.unwrap();
    let is_end = |kind: &EventKind| matches!(kind, EventKind::State { state, .. } if state.is_end());
    assert_eq!(events.iter().filter(|event| is_end(&event.kind)).count(), 1, "{request} has ended once: {events:?}");
}

/// Every request was told of under its own id, and of nothing else.
async fn delivered(store: &PostgresStore, receiver: &Catcher, submitted: &[Value]) {
    let began = Instant::now();
    for request in submitted {
        loop {
            let deliveries = store.deliveries(id(request)).await.unwrap();
            let [delivery] = deliveries.as_slice() else { panic!("one delivery each: {deliveries:?}") };
            if delivery.state == DeliveryState::Delivered {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{delivery:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let told = |caught: &scumble_testkit::catcher::Caught| {
        let body: Value = serde_json::from_slice(&caught.body).unwrap();
        assert_eq!(body["request_id"], caught.headers["x-fal-webhook-request-id"].to_str().unwrap());
        assert_eq!(body["status"], "OK", "{body}");
        body["request_id"].as_str().unwrap().to_owned()
    };
    let told: BTreeSet<String> = receiver.so_far().iter().map(told).collect();
    assert_eq!(told, submitted.iter().map(|request| id(request).to_string()).collect());
}

fn id(request: &Value) -> JobId {
    request["request_id"].as_str().unwrap().parse().unwrap()
}
