//! What has been kept long enough goes: files, parts of abandoned uploads, jobs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::until;
use reqwest::Method;
use scumble_store::{Admission, Clock, JobId, ManualClock, NewJob, Outcome, Retention, SystemClock};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Folder, Setup, TestServer};
use serde_json::{Value, json};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A server that cleans up all the time, and a clock that the test moves.
async fn tidy(folder: &Folder) -> (TestServer, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let retention = Retention { kept_ms: Some(48 * HOUR_MS), unkept_ms: HOUR_MS };
    let worker = scumble_worker::Config { cleanup: Duration::from_millis(10), retention, ..Setup::default().worker };
    let setup = Setup { clock: clock.clone(), worker, ..Setup::default() };
    (TestServer::with(Setup { folder: folder.clone(), ..setup }, &FakeRunner::free()).await, clock)
}

async fn upload(server: &TestServer, lifecycle: &Value) -> String {
    let upload =
        server.request(Method::POST, "/cdn/files/upload").header("x-fal-object-lifecycle", lifecycle.to_string());
    let answer: Value = upload.body("bytes").send().await.unwrap().json().await.unwrap();
    answer["access_url"].as_str().unwrap().split_once("/files/").unwrap().1.to_owned()
}

#[tokio::test]
async fn expired_files_lose_their_bytes_and_their_row() {
    let folder = Folder::new();
    let (server, clock) = tidy(&folder).await;
    let short = upload(&server, &json!({ "expiration_duration_seconds": 60 })).await;
    let long = upload(&server, &json!({ "expiration_duration_seconds": 3600 })).await;
    let kept = upload(&server, &json!({})).await;
    let on_disk = |path: &str| folder.path().join("files").join(path).exists();
    assert!([&short, &long, &kept].iter().all(|path| on_disk(path)));
    clock.advance(60_000);
    until("the short one goes", async || server.store.file(&short).await.unwrap().is_none()).await;
    assert!(!on_disk(&short), "the bytes went before the row");
    assert!(on_disk(&long) && on_disk(&kept));
    clock.advance(1000 * HOUR_MS);
    until("the long one goes", async || server.store.file(&long).await.unwrap().is_none()).await;
    assert!(!on_disk(&long) && on_disk(&kept));
    assert!(server.store.file(&kept).await.unwrap().is_some());
}

#[tokio::test]
async fn parts_that_nobody_completes_go_after_a_day() {
    let folder = Folder::new();
    let (server, clock) = tidy(&folder).await;
    let begin = server.request(Method::POST, "/rest/storage/upload/initiate-multipart").send().await.unwrap();
    let begun: Value = begin.json().await.unwrap();
    let url = begun["upload_url"].as_str().unwrap().replace('?', "/1?");
    assert_eq!(reqwest::Client::new().put(url).body("part").send().await.unwrap().status(), 200);
    let uploads = async || std::fs::read_dir(folder.path().join("files/parts")).map_or(0, Iterator::count);
    clock.advance(23 * HOUR_MS);
    // a file that expires now shows that a clean-up has passed since
    let marker = upload(&server, &json!({ "expiration_duration_seconds": 1 })).await;
    clock.advance(1000);
    until("a clean-up passes", async || server.store.file(&marker).await.unwrap().is_none()).await;
    assert_eq!(uploads().await, 1);
    clock.advance(HOUR_MS + 60_000);
    until("the part goes", async || uploads().await == 0).await;
}

#[tokio::test]
async fn ended_jobs_go_when_their_time_is_over() {
    let folder = Folder::new();
    let (server, clock) = tidy(&folder).await;
    let ended = async |keep_io: bool| -> JobId {
        let job = NewJob { keep_io, ..NewJob::new(ENDPOINT, json!({})) };
        let id = job.id;
        let outcome = Outcome {
            status: 422,
            body: json!({ "detail": "no" }),
            headers: Default::default(),
            error: Some("no".into()),
            error_type: None,
            inference_ms: None,
        };
        server.store.enqueue_ended(job, Admission::default(), outcome).await.unwrap();
        id
    };
    let (kept, unkept) = (ended(true).await, ended(false).await);
    let gone = async |id: JobId| server.store.job(id).await.unwrap().is_none();
    assert!(!gone(unkept).await);
    clock.advance(HOUR_MS + 1);
    until("the one that nobody wanted kept goes", async || gone(unkept).await).await;
    assert!(!gone(kept).await);
    clock.advance(48 * HOUR_MS);
    until("the other one goes", async || gone(kept).await).await;
}
