//! What is kept of a request, how large that gets, and when nothing more is taken.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{body_of, until};
use reqwest::Method;
use scumble_store::{Decision, JobId};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Folder, Setup, TestServer};
use serde_json::{Value, json};

/// An endpoint that takes a picture.
const REMIX: &str = "fal-ai/ideogram/v3/remix";

/// A picture that cannot be packed: noise in a PNG of about this many bytes.
fn picture(bytes: usize) -> Vec<u8> {
    let side = ((bytes / 3) as f64).sqrt() as u32;
    let mut seed = 7u32;
    let noise = image::RgbImage::from_fn(side, side, |_, _| {
        image::Rgb(std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        }))
    });
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn data_uri(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

fn remix(picture: &str) -> Value {
    json!({ "prompt": "a star", "image_url": picture, "image_urls": [picture] })
}

fn setup(folder: &Folder) -> Setup {
    let mut setup = Setup { folder: folder.clone(), ..Setup::default() };
    setup.server.body_bytes = 16 * 1024 * 1024;
    setup
}

/// What the database has on the disk, its log too.
fn database_bytes(folder: &Path) -> u64 {
    ["scumble.db", "scumble.db-wal"].iter().map(|name| std::fs::metadata(folder.join(name)).unwrap().len()).sum()
}

async fn submit(server: &TestServer, key: Option<&str>, input: &Value) -> JobId {
    let request = server.request(Method::POST, &format!("/queue/{REMIX}")).json(input);
    let request = key.iter().fold(request, |request, key| request.header("authorization", format!("Key {key}")));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["request_id"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

async fn ended(server: &TestServer, id: JobId) -> scumble_store::Job {
    let ends = async {
        loop {
            let job = server.store.job(id).await.unwrap().unwrap();
            if job.state.is_end() {
                return job;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ends).await.expect("the job ends")
}

#[tokio::test]
async fn a_picture_inside_an_input_becomes_a_file_of_its_job() {
    let folder = Folder::new();
    let server = TestServer::standing_in(setup(&folder)).await;
    let (before, bytes) = (database_bytes(&folder.path()), picture(3 * 1024 * 1024));
    let id = submit(&server, None, &remix(&data_uri(&bytes))).await;
    let job = ended(&server, id).await;
    assert_eq!(job.outcome.unwrap().status, 200, "its worker reads it");
    let grown = database_bytes(&folder.path()) - before;
    assert!(grown < 400 * 1024, "8 MiB of input left {grown} bytes in the database");

    let name = job.input["image_url"].as_str().unwrap().to_owned();
    let path = name.strip_prefix("scumble-file:").unwrap().to_owned();
    assert!(job.input["image_urls"][0].as_str().unwrap().starts_with("scumble-file:b/"));
    assert_eq!(body_of(&format!("{}/cdn/files/{path}", server.url)).await, bytes);
    for page in [format!("/history/{id}"), format!("/models/{REMIX}?from={id}")] {
        let text = server.request(Method::GET, &page).send().await.unwrap().text().await.unwrap();
        assert!(text.contains(&format!("/files/{path}")), "{page} shows it: {text}");
        assert!(!text.contains("scumble-file:"), "{page} keeps our names to itself: {text}");
    }

    // the same again has the same files, and keeps them
    let ours = |path: &str| server.request(Method::POST, path).header("origin", &server.url);
    let again = ours(&format!("/history/{id}/again")).send().await.unwrap();
    assert!(again.status().is_success(), "{}", again.status());
    let copy: JobId = again.url().path().rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(ended(&server, copy).await.input, server.store.job(id).await.unwrap().unwrap().input);
    ours(&format!("/history/{id}/delete")).send().await.unwrap();
    assert_eq!(body_of(&format!("{}/cdn/files/{path}", server.url)).await, bytes);
    ours(&format!("/history/{copy}/delete")).send().await.unwrap();
    let on_disk = folder.path().join("files").join(&path);
    until("the file goes with its last job", || !on_disk.exists()).await;
}

#[tokio::test]
async fn the_picture_of_a_direct_call_is_kept_as_briefly() {
    let folder = Folder::new();
    let server = TestServer::standing_in(setup(&folder)).await;
    let input = remix(&data_uri(&picture(1024 * 1024)));
    let answer = server.request(Method::POST, &format!("/run/{REMIX}")).json(&input).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id: JobId = answer.headers()["x-fal-request-id"].to_str().unwrap().parse().unwrap();
    assert_eq!(server.store.given_files(id).await.unwrap().len(), 2);
    let files = || common::entries(&folder.path().join("files/b"));
    let before = files();
    // one that is not accepted leaves nothing
    let reused = |prompt: &str| {
        let mut input = input.clone();
        input["prompt"] = prompt.into();
        server.request(Method::POST, &format!("/run/{REMIX}")).header("idempotency-key", "word").json(&input).send()
    };
    assert_eq!(reused("one").await.unwrap().status(), 200);
    let accepted = files();
    assert!(accepted > before);
    assert_eq!(reused("another").await.unwrap().status(), 422);
    until("what was not accepted is removed", || files() == accepted).await;
}

#[tokio::test]
async fn the_pictures_of_a_key_are_nobody_elses() {
    let folder = Folder::new();
    let server = TestServer::standing_in(setup(&folder)).await;
    let (ann, bob) = (server.key().await, server.key().await);
    let bytes = picture(1000);
    let id = submit(&server, Some(&ann), &remix(&data_uri(&bytes))).await;
    let job = ended(&server, id).await;
    assert_eq!(job.outcome.unwrap().status, 200);
    let file = server.store.given_files(id).await.unwrap().remove(0);
    assert_eq!((file.owner.as_deref(), file.access.default), (job.key_id.as_deref(), Decision::Hide));
    let read = async |key: Option<&str>| {
        let request = server.request(Method::GET, &format!("/cdn/files/{}", file.path));
        let request = key.iter().fold(request, |request, key| request.header("authorization", format!("Key {key}")));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((read(Some(&ann)).await, read(Some(&bob)).await, read(None).await), (200, 404, 404));
    // nor does its name open it, not even for its owner: it is no address
    for key in [&bob, &ann] {
        let stolen = submit(&server, Some(key), &remix(&format!("scumble-file:{}", file.path))).await;
        let outcome = ended(&server, stolen).await.outcome.unwrap();
        assert_eq!((outcome.status, &outcome.body["detail"][0]["type"]), (422, &json!("file_download_error")));
    }
}

#[tokio::test]
async fn what_is_wrong_is_repeated_only_so_far() {
    let folder = Folder::new();
    let server = TestServer::standing_in(setup(&folder)).await;
    let long = "x".repeat(6 * 1024 * 1024);
    let before = database_bytes(&folder.path());
    let wrong = [
        json!({ "prompt": [long], "image_url": "https://a.test/b.png" }),
        json!({ "image_url": data_uri(long.as_bytes()) }),
        json!({ "prompt": "a", "image_url": long }),
        json!({ "prompt": "a", "image_url": format!("data:image/png;base64,*{long}") }),
        json!([long]),
    ];
    for (number, input) in wrong.iter().enumerate() {
        let direct = server.request(Method::POST, &format!("/run/{REMIX}")).json(input).send().await.unwrap();
        assert_eq!(direct.status(), 422, "{number}");
        let body = direct.text().await.unwrap();
        assert!(body.len() < 8 * 1024, "{number}: {} bytes", body.len());
        let job = ended(&server, submit(&server, None, input).await).await;
        let outcome = job.outcome.unwrap();
        assert_eq!(outcome.status, 422, "{number}");
        assert!(outcome.body.to_string().len() < 8 * 1024 && job.input.to_string().len() < 40 * 1024, "{number}");
        assert!(outcome.error.unwrap().len() < 4 * 1024);
        let page = server.request(Method::GET, &format!("/history/{}", job.id)).send().await.unwrap();
        assert!(page.bytes().await.unwrap().len() < 128 * 1024);
    }
    let grown = database_bytes(&folder.path()) - before;
    assert!(grown < 1024 * 1024, "30 MiB of nonsense left {grown} bytes in the database");
    assert_eq!(common::entries(&folder.path().join("files/b")), 0, "and no file");
}

#[tokio::test]
async fn without_room_what_was_taken_before_runs_to_its_end() {
    let folder = Folder::new();
    let runner = FakeRunner::gated();
    let server = TestServer::with(setup(&folder), &runner).await;
    let input = json!({ "prompt": "a", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
    let accepted = server.submit(&input).await;
    runner.begun().await;
    let folder = server.stopped().await;
    let mut full = setup(&folder);
    full.server.free_bytes = u64::MAX;
    let server = TestServer::with(full, &runner).await;
    runner.begun().await;
    let path = format!("/queue/{}", scumble_testkit::server::ENDPOINT);
    let refused = server.request(Method::POST, &path).json(&input).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"30".parse().unwrap()));
    runner.allow(1);
    let id = accepted["request_id"].as_str().unwrap();
    let status_url = format!("{}/queue/scumble/starter/requests/{id}/status", server.url);
    server.ended(&json!({ "status_url": status_url })).await;
    let result = server.request(Method::GET, &format!("/queue/scumble/starter/requests/{id}")).send().await.unwrap();
    assert_eq!(result.status(), 200);
}

#[tokio::test]
async fn without_room_nothing_new_is_taken_and_everything_can_be_read() {
    let folder = Folder::new();
    let server = TestServer::standing_in(setup(&folder)).await;
    let input = json!({ "prompt": "a", "image_size": { "width": 64, "height": 64 } });
    let answer = server.request(Method::POST, "/run/fal-ai/flux/dev").json(&input).send().await.unwrap();
    let id = answer.headers()["x-fal-request-id"].to_str().unwrap().to_owned();
    let output: Value = answer.json().await.unwrap();
    let picture = output["images"][0]["url"].as_str().unwrap().split_once("/cdn").unwrap().1.to_owned();
    let folder = server.stopped().await;

    let mut full = setup(&folder);
    // more than any disk has
    full.server.free_bytes = u64::MAX;
    let server = TestServer::standing_in(full).await;
    for path in ["/run/fal-ai/flux/dev", "/run/fal-ai/flux/dev/stream", "/queue/fal-ai/flux/dev", "/cdn/files/upload"] {
        let refused = server.request(Method::POST, path).json(&input).send().await.unwrap();
        assert_eq!(refused.status(), 503, "{path}");
        assert!(refused.headers().contains_key("retry-after"), "{path}");
        assert_eq!(refused.headers()["x-fal-error-type"], "runner_scheduling_failure", "{path}");
        let body: Value = refused.json().await.unwrap();
        assert!(body["detail"].as_str().unwrap().contains("space"), "{path}: {body}");
    }
    let result = server.request(Method::GET, &format!("/queue/fal-ai/flux/requests/{id}")).send().await.unwrap();
    assert_eq!(result.status(), 200);
    assert!(!body_of(&format!("{}/cdn{picture}", server.url)).await.is_empty());
    assert_eq!(server.request(Method::GET, "/ready").send().await.unwrap().status(), 200);
}
