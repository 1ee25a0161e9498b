//! OpenAI's image API as its programs use it: the requests of theirs, against the real router, database and files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod calls;
mod edits;
mod errors;
mod form;
mod maker;
mod many;
mod streams;

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use reqwest::{Method, RequestBuilder};
use scumble_store::{JobFilter, State};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::Models;
use scumble_worker::runner::{Drawn, Request, RunError, Runner, Watch};
use serde_json::Value;

const GENERATIONS: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";

/// A server whose cards stand in for every model.
async fn cards() -> TestServer {
    announced(TestServer::standing_in(Setup { server: roomy(), ..Setup::default() }).await).await
}

/// Room for pictures in bodies.
fn roomy() -> scumble_server::Config {
    scumble_server::Config { body_bytes: 4 * 1024 * 1024, ..Default::default() }
}

/// A server on which these endpoints answer, and nothing else does.
async fn answering<const N: usize>(setup: Setup, runners: [(&'static str, Arc<dyn Runner>); N]) -> TestServer {
    announced(TestServer::answering(setup, Models::with(HashMap::from(runners))).await).await
}

/// The server, once its worker has said what it answers.
async fn announced(server: TestServer) -> TestServer {
    until("a worker is there", async || !server.store.workers(0).await.unwrap().is_empty()).await;
    server
}

/// Waits until something holds, at most half a minute.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), held).await.is_ok(), "{what}");
}

/// How many jobs were cancelled.
async fn cancelled(server: &TestServer) -> usize {
    let filter = JobFilter { endpoint: None, state: Some(State::Cancelled), key_id: None, before: None, limit: 100 };
    server.store.recent(&filter).await.unwrap().len()
}

fn post(server: &TestServer, path: &str, body: &Value) -> RequestBuilder {
    server.request(Method::POST, path).json(body)
}

/// The JSON of an answer with this status.
async fn answer(request: RequestBuilder, status: u16) -> Value {
    let answer = request.send().await.unwrap();
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.headers()["x-request-id"], answer.headers()["x-fal-request-id"]);
    let (found, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The picture in `data[at].b64_json`, and its format.
fn inside(answer: &Value, at: usize) -> (ImageFormat, DynamicImage) {
    decoded(&STANDARD.decode(answer["data"][at]["b64_json"].as_str().unwrap()).unwrap())
}

fn decoded(bytes: &[u8]) -> (ImageFormat, DynamicImage) {
    (image::guess_format(bytes).unwrap(), image::load_from_memory(bytes).unwrap())
}

/// A picture as a file.
fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn photo(width: u32, height: u32) -> DynamicImage {
    DynamicImage::from(RgbaImage::from_pixel(width, height, Rgba([10, 60, 90, 255]))).into_rgb8().into()
}

/// Transparent on its left.
fn mask(width: u32, height: u32) -> DynamicImage {
    RgbaImage::from_fn(width, height, |x, _| Rgba([0, 0, 0, if x < width / 2 { 0 } else { 255 }])).into()
}

/// Remembers what it was asked for, and draws one colour.
#[derive(Clone)]
struct Listener {
    heard: Arc<Mutex<Vec<Request>>>,
    inner: FakeRunner,
}

impl Listener {
    fn new() -> Self {
        Self { heard: Arc::default(), inner: FakeRunner::free() }
    }

    fn runner(&self) -> Arc<dyn Runner> {
        Arc::new(self.clone())
    }

    /// The latest request.
    fn last(&self) -> Request {
        self.heard.lock().unwrap().last().cloned().unwrap()
    }

    fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

#[async_trait::async_trait]
impl Runner for Listener {
    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        self.heard.lock().unwrap().push(request.clone());
        self.inner.run(request, watch).await
    }
}
