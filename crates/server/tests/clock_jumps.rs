//! The clock jumps under a whole server: forwards by a day, backwards by an hour, while one request is at work, one
//! rests, one waits and a webhook is to be delivered again. Nothing is lost and nothing happens twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use scumble_store::{DeliveryState, EventKind, JobId, ManualClock, Options, SqliteStore, Store};
use scumble_testkit::catcher::{Answer, Catcher};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};

const NOON_MS: i64 = 1_800_000_000_000;
const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A server with something of every kind under way, at noon.
struct Scene {
    server: TestServer,
    runner: FakeRunner,
    clock: Arc<ManualClock>,
    receiver: Catcher,
    /// By what they were when the clock jumped.
    requests: BTreeMap<&'static str, Value>,
}

impl Scene {
    async fn new() -> Self {
        let (clock, runner) = (Arc::new(ManualClock::at(NOON_MS)), FakeRunner::gated());
        let mut setup = Setup { clock: clock.clone(), ..Setup::default() };
        setup.server.private_webhooks = true;
        setup.worker.webhooks.allow_private = true;
        setup.worker.poll = Duration::from_millis(20);
        let server = TestServer::with(setup, &runner).await;
        let receiver = Catcher::new([Answer::Status(500), Answer::Status(200)]).await;
        let mut scene = Self { server, runner, clock, receiver, requests: BTreeMap::new() };

        scene.submit("ended").await;
        scene.runner.allow(1);
        scene.begun("ended").await;
        scene.server.ended(&scene.requests["ended"]).await;
        scene.receiver.caught(1).await;
        scene.runner.fail_first(1);
        scene.submit("resting").await;
        scene.begun("resting").await;
        scene.submit("at work").await;
        scene.begun("at work").await;
        scene.submit("waiting").await;
        scene
    }

    async fn submit(&mut self, name: &'static str) {
        let input = json!({ "prompt": name, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
        let path = format!("/queue/{ENDPOINT}?fal_webhook={}", self.receiver.url);
        let answer = self.server.request(Method::POST, &path).json(&input).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        self.requests.insert(name, answer.json().await.unwrap());
    }

    /// Until the run of this request, and no other, has begun.
    async fn begun(&self, name: &str) {
        self.runner.begun().await;
        assert_eq!(self.runner.prompts().last().map(String::as_str), Some(name));
    }

    /// Lets everybody draw; every request ends, once, and well, and is told of.
    async fn everything_ends(self) {
        self.runner.allow(100);
        for request in self.requests.values() {
            assert_eq!(self.server.ended(request).await["error"], Value::Null);
            let result = self.server.request(
                Method::GET,
                request["response_url"].as_str().unwrap().strip_prefix(&self.server.url).unwrap(),
            );
            assert_eq!(result.send().await.unwrap().status(), 200);
        }
        for request in self.requests.values() {
            self.delivered(id(request)).await;
        }
        let told = self.receiver.so_far();
        let told = told.iter().map(|one| one.headers["x-fal-webhook-request-id"].to_str().unwrap().to_owned());
        let mut told: Vec<String> = told.collect();
        told.sort();
        told.dedup();
        let mut ids: Vec<String> = self.requests.values().map(|request| id(request).to_string()).collect();
        ids.sort();
        assert_eq!(told, ids);

        let folder = self.server.stopped().await;
        let store = SqliteStore::open(folder.path().join("scumble.db"), Options::default()).await.unwrap();
        assert_eq!(store.problems().await.unwrap(), Vec::<String>::new(), "the database is intact");
        for (name, request) in &self.requests {
            let events = store.events(id(request), 0).await.unwrap();
            let is_end = |kind: &EventKind| matches!(kind, EventKind::State { state, .. } if state.is_end());
            assert_eq!(events.iter().filter(|event| is_end(&event.kind)).count(), 1, "{name}: {events:?}");
        }
        store.close().await;
    }

    async fn delivered(&self, id: JobId) {
        let delivered = async {
            while self.server.store.deliveries(id).await.unwrap()[0].state != DeliveryState::Delivered {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), delivered).await.is_ok(), "{id} is told of");
    }
}

fn id(request: &Value) -> JobId {
    request["request_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn forwards_by_a_day() {
    let scene = Scene::new().await;
    scene.clock.advance(24 * HOUR_MS);
    scene.everything_ends().await;
}

#[tokio::test]
async fn backwards_by_an_hour() {
    let scene = Scene::new().await;
    scene.clock.advance(-HOUR_MS);
    // the rest and the pause before the next attempt go on from here
    let waits = async {
        while scene.server.store.next_delivery_ms().await.unwrap() > Some(NOON_MS - HOUR_MS + MINUTE_MS) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waits).await.is_ok(), "the webhook waits for noon");
    scene.clock.advance(MINUTE_MS);
    scene.everything_ends().await;
}
