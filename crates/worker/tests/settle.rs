//! Small pictures whose bytes the database keeps get into their folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::BTreeMap;

use common::until;
use reqwest::Method;
use scumble_store::{
    Admission, Claim, Claimable, FileRecord, Finish, FreshFile, FreshSize, NewJob, Options, Outcome, Product,
    SqliteStore, Store,
};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Folder, Setup, TestServer};
use serde_json::{Value, json};

async fn get(server: &TestServer, path: &str) -> (u16, Vec<u8>) {
    let answer = server.request(Method::GET, &format!("/cdn/files/{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// Leaves a job with a picture that is in the database only, as a process does that is killed.
async fn left_behind(folder: &Folder, path: &str, bytes: &[u8]) {
    let store = SqliteStore::open(folder.path().join("scumble.db"), Options::default()).await.unwrap();
    store.enqueue(NewJob::new(ENDPOINT, json!({ "prompt": "a" })), Admission::default()).await.unwrap();
    let worker = "gone/0".to_owned();
    let claim = Claim { worker, endpoints: Claimable::All, lease_ms: 1_000, per_key: None, start: true };
    let lease = store.claim(&claim).await.unwrap().unwrap();
    let outcome = Outcome {
        status: 200,
        body: json!({}),
        headers: BTreeMap::new(),
        error: None,
        error_type: None,
        inference_ms: None,
    };
    let file = FileRecord {
        path: path.to_owned(),
        job_id: None,
        content_type: "image/png".to_owned(),
        bytes: bytes.len() as i64,
        created_ms: 0,
        expires_ms: None,
        owner: None,
        access: Default::default(),
    };
    let fresh = vec![FreshFile { path: path.to_owned(), bytes: bytes.to_vec() }];
    let product = Product { files: vec![file], fresh, ..outcome.into() };
    assert_eq!(store.finish(&lease, product).await.unwrap(), Finish::Accepted);
    store.close().await;
}

#[tokio::test]
async fn what_an_earlier_process_left_is_settled_first() {
    let folder = Folder::new();
    let path = "b/00112233445566778899aabbccddeeff/a.png";
    left_behind(&folder, path, b"pixels").await;
    let setup = Setup { folder: folder.clone(), ..Setup::default() };
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    // wherever it is by now
    assert_eq!(get(&server, path).await, (200, b"pixels".to_vec()));
    let is_settled = async || server.store.fresh_size().await.unwrap() == FreshSize::default();
    until("it is settled", is_settled).await;
    assert_eq!(std::fs::read(folder.path().join("files").join(path)).unwrap(), b"pixels");
    assert_eq!(get(&server, path).await, (200, b"pixels".to_vec()));
}

#[tokio::test]
async fn pictures_of_direct_calls_can_be_read_at_once_and_are_settled_soon() {
    let folder = Folder::new();
    let setup = Setup { folder: folder.clone(), ..Setup::default() };
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    let mut paths = Vec::new();
    for _ in 0..20 {
        let call = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&json!({ "prompt": "a" }));
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        let url = answer["images"][0]["url"].as_str().unwrap();
        let path = url.split_once("/files/").unwrap().1.to_owned();
        let (status, bytes) = get(&server, &path).await;
        assert!(status == 200 && !bytes.is_empty(), "{url}: {status}");
        paths.push((path, bytes));
    }
    // one is deleted, wherever it is by now
    let (gone, _) = paths.pop().unwrap();
    assert!(server.store.forget_file(&gone).await.unwrap());
    assert_eq!(get(&server, &gone).await.0, 404);
    let is_settled = async || server.store.fresh_size().await.unwrap() == FreshSize::default();
    until("they are settled", is_settled).await;
    for (path, bytes) in paths {
        assert_eq!(std::fs::read(folder.path().join("files").join(&path)).unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_orderly_stop_leaves_nothing_in_the_database() {
    let folder = Folder::new();
    let setup = Setup { folder: folder.clone(), ..Setup::default() };
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    for _ in 0..5 {
        let call = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&json!({ "prompt": "a" }));
        assert_eq!(call.send().await.unwrap().status(), 200);
    }
    server.stopped().await;
    let store = SqliteStore::open(folder.path().join("scumble.db"), Options::default()).await.unwrap();
    assert_eq!(store.fresh_size().await.unwrap(), FreshSize::default());
}
