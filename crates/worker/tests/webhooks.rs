//! Webhooks as their receivers see them: real posts, real database, a clock that the test moves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use scumble_api::ErrorAnswer;
use scumble_files::Files;
use scumble_server::{AppState, rotate_webhook_keys};
use scumble_store::{
    Admission, DeliveryRecord, DeliveryState, JobId, ManualClock, NewJob, Options, Outcome, SqliteStore, Store,
};
use scumble_testkit::catcher::{Answer, Catcher, Caught};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Folder};
use scumble_worker::runner::Runner;
use scumble_worker::{Config, Models, WebhooksConfig, Worker};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const NOON_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// A worker on a data dir, with a clock that stands still.
struct Office {
    store: Arc<dyn Store>,
    files: Files,
    clock: Arc<ManualClock>,
    drain: CancellationToken,
    stop: CancellationToken,
    working: tokio::task::JoinHandle<()>,
    folder: Folder,
}

impl Office {
    async fn new() -> Self {
        Self::on(Folder::new(), NOON_MS, open()).await
    }

    async fn on(folder: Folder, now_ms: i64, webhooks: WebhooksConfig) -> Self {
        let clock = Arc::new(ManualClock::at(now_ms));
        let options = Options { clock: clock.clone(), ..Options::default() };
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(folder.path().join("scumble.db"), options).await.unwrap());
        let files = Files::open(folder.path().join("files").to_str().unwrap()).unwrap();
        let runners = HashMap::from([(ENDPOINT, Arc::new(FakeRunner::free()) as Arc<dyn Runner>)]);
        let config = Config { poll: Duration::from_millis(10), webhooks, ..Config::default() };
        let models = Arc::new(Models::with(runners));
        let worker = Worker { store: store.clone(), files: files.clone(), models, clock: clock.clone(), config };
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let working = tokio::spawn(worker.run(drain.clone(), stop.clone()));
        Self { store, files, clock, drain, stop, working, folder }
    }

    /// Records a request that has ended like this; its id.
    async fn end(&self, url: &str, status: u16, body: Value) -> JobId {
        let outcome =
            Outcome { status, body, headers: BTreeMap::new(), error: None, error_type: None, inference_ms: None };
        let job = NewJob { webhook: Some(url.to_owned()), ..NewJob::new(ENDPOINT, json!({})) };
        let id = job.id;
        self.store.enqueue_ended(job, Admission::default(), outcome).await.unwrap();
        id
    }

    /// The job's only delivery once this holds of it.
    async fn delivery(&self, id: JobId, holds: impl Fn(&DeliveryRecord) -> bool) -> DeliveryRecord {
        let found = async {
            loop {
                let record = self.store.deliveries(id).await.unwrap().remove(0);
                if holds(&record) {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("the delivery gets so far")
    }

    /// The HTTP face on the same store.
    async fn served(&self) -> (String, AbortOnDropHandle<()>) {
        let config = scumble_server::Config::default();
        let (store, files, clock) = (self.store.clone(), self.files.clone(), self.clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = scumble_server::router(AppState::new(store, files, clock, config));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, AbortOnDropHandle::new(serving))
    }

    async fn jwks(&self) -> Value {
        let (url, _serving) = self.served().await;
        let answer = reqwest::get(format!("{url}/rest/.well-known/jwks.json")).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &json_type()));
        answer.json().await.unwrap()
    }

    async fn stopped(self) -> Folder {
        self.drain.cancel();
        self.stop.cancel();
        self.working.await.unwrap();
        self.store.close().await;
        self.folder
    }

    fn killed(self) -> Folder {
        self.working.abort();
        self.folder
    }
}

fn json_type() -> reqwest::header::HeaderValue {
    reqwest::header::HeaderValue::from_static("application/json")
}

/// The catcher lives on loopback.
fn open() -> WebhooksConfig {
    WebhooksConfig { allow_private: true, ..WebhooksConfig::default() }
}

fn statuses(statuses: &[u16]) -> Vec<Answer> {
    statuses.iter().map(|status| Answer::Status(*status)).collect()
}

fn header<'a>(caught: &'a Caught, name: &str) -> &'a str {
    caught.headers[name].to_str().unwrap()
}

fn body(caught: &Caught) -> Value {
    serde_json::from_slice(&caught.body).unwrap()
}

/// The documented verification, with another library than the one that signs. The strict decoder reads padded keys only,
/// as the documented Python sample does.
fn verified_by(caught: &Caught, jwks: &Value, now_ms: i64) -> Option<String> {
    let [request, user, timestamp, signature] =
        ["request-id", "user-id", "timestamp", "signature"].map(|n| header(caught, &format!("x-fal-webhook-{n}")));
    let age_s = now_ms / 1000 - timestamp.parse::<i64>().unwrap();
    assert!(age_s.abs() <= 300, "{age_s}");
    let hash: String = digest(&SHA256, &caught.body).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let message = format!("{request}\n{user}\n{timestamp}\n{hash}");
    let signature: Vec<u8> =
        (0..signature.len() / 2).map(|i| u8::from_str_radix(&signature[2 * i..2 * i + 2], 16).unwrap()).collect();
    let verifies = |key: &&Value| {
        let Ok(public) = URL_SAFE.decode(key["x"].as_str().unwrap()) else { return false };
        UnparsedPublicKey::new(&ED25519, public).verify(message.as_bytes(), &signature).is_ok()
    };
    jwks["keys"].as_array().unwrap().iter().find(verifies).map(|key| key["x"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_finished_request_is_told_of_once_and_the_signature_verifies() {
    let (office, catcher) = (Office::new().await, Catcher::new([]).await);
    let (url, _serving) = office.served().await;
    let input =
        json!({ "prompt": "é", "seed": 3, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
    let job = NewJob {
        webhook: Some(catcher.url.clone()),
        key_id: Some("key-1".into()),
        options: json!({ "base_urls": { "cdn": format!("{url}/cdn") } }),
        ..NewJob::new(ENDPOINT, input)
    };
    let id = job.id;
    office.store.enqueue(job, Admission::default()).await.unwrap();
    let caught = catcher.caught(1).await.remove(0);
    assert_eq!((caught.path.as_str(), &caught.headers["content-type"]), ("/hook", &json_type()));
    assert_eq!(header(&caught, "x-fal-webhook-request-id"), id.to_string());
    assert_eq!(header(&caught, "x-fal-webhook-user-id"), "key-1");
    assert_eq!(header(&caught, "x-fal-webhook-timestamp"), (NOON_MS / 1000).to_string());
    let jwks = office.jwks().await;
    assert!(verified_by(&caught, &jwks, NOON_MS + 300_000).is_some());
    let mut forged = caught.clone();
    forged.body = format!("{} ", String::from_utf8_lossy(&caught.body)).into();
    assert_eq!(verified_by(&forged, &jwks, NOON_MS), None);

    let result = reqwest::get(format!("{url}/queue/{ENDPOINT}/requests/{id}")).await.unwrap();
    let result: Value = result.json().await.unwrap();
    let expected = json!({ "request_id": id.to_string(), "gateway_request_id": id.to_string(), "status": "OK",
                           "payload": result });
    assert_eq!(body(&caught), expected);
    let file = reqwest::get(result["images"][0]["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(file.status(), 200);
    let record = office.delivery(id, |record| record.state == DeliveryState::Delivered).await;
    assert_eq!((record.log.len(), record.log[0].status), (1, Some(200)));
    assert_eq!(catcher.so_far().len(), 1);
}

#[tokio::test]
async fn a_failed_request_carries_the_body_of_its_result() {
    let (office, catcher) = (Office::new().await, Catcher::new([]).await);
    let problem = scumble_api::Problem::new(&["prompt"], "missing", "Field required");
    let answer = ErrorAnswer::invalid(&[problem]);
    let id = office.end(&catcher.url, 422, answer.body.clone()).await.to_string();
    let caught = catcher.caught(1).await.remove(0);
    let expected = json!({ "request_id": id, "gateway_request_id": id, "status": "ERROR",
                           "error": "Invalid status code: 422", "payload": answer.body });
    assert_eq!(body(&caught), expected);
    assert_eq!(header(&caught, "x-fal-webhook-user-id"), "anonymous");
    assert!(verified_by(&caught, &office.jwks().await, NOON_MS).is_some());
}

#[tokio::test]
async fn an_output_that_is_gone_is_said_to_be_gone() {
    let (office, catcher) = (Office::new().await, Catcher::new([]).await);
    let stored = office.files.put("pixels".into(), "image/png", "a.png").await.unwrap();
    let inline = json!({ "image": { "url": format!("scumble-inline:{}", stored.path) } });
    office.end(&catcher.url, 200, inline.clone()).await;
    let uri = format!("data:image/png;base64,{}", STANDARD.encode("pixels"));
    assert_eq!(body(&catcher.caught(1).await[0])["payload"], json!({ "image": { "url": uri } }));
    office.files.delete(&stored.path).await.unwrap();
    office.end(&catcher.url, 200, inline).await;
    let said = body(&catcher.caught(2).await[1]);
    assert_eq!((&said["status"], &said["payload"]), (&json!("OK"), &Value::Null));
    assert_eq!(said["payload_error"], "a file of the output is no longer kept");
}

#[tokio::test]
async fn a_receiver_that_fails_is_called_again_after_growing_pauses_with_a_fresh_signature() {
    let (office, catcher) = (Office::new().await, Catcher::new(statuses(&[500, 503, 404, 200])).await);
    let id = office.end(&catcher.url, 200, json!({})).await;
    let mut pauses = Vec::new();
    for attempt in 1..4 {
        let record = office.delivery(id, |record| record.log.len() == attempt).await;
        assert_eq!(record.state, DeliveryState::Pending);
        let (now, next) = (record.log[attempt - 1].at_ms, record.next_ms.unwrap());
        pauses.push(next - now);
        office.clock.set(next);
    }
    let record = office.delivery(id, |record| record.state != DeliveryState::Pending).await;
    let log: Vec<_> = record.log.iter().map(|attempt| attempt.status.unwrap()).collect();
    assert_eq!((record.state, log), (DeliveryState::Delivered, vec![500, 503, 404, 200]));
    assert_eq!(record.log[0].error.as_deref(), Some("the receiver answered 500"));
    let limits = [2_000..=3_000, 4_000..=6_000, 8_000..=12_000];
    assert!(limits.iter().zip(&pauses).all(|(limit, pause)| limit.contains(pause)), "{pauses:?}");

    let (caught, jwks) = (catcher.so_far(), office.jwks().await);
    assert!(caught.windows(2).all(|two| two[0].body == two[1].body));
    for (caught, attempt) in caught.iter().zip(&record.log) {
        assert_eq!(header(caught, "x-fal-webhook-timestamp"), (attempt.at_ms / 1000).to_string());
        assert!(verified_by(caught, &jwks, attempt.at_ms).is_some());
    }
    let signatures: Vec<_> = caught.iter().map(|c| header(c, "x-fal-webhook-signature")).collect();
    assert!(signatures.windows(2).all(|two| two[0] != two[1]));
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up_after_31_attempts() {
    let webhooks = WebhooksConfig { timeout: Duration::from_millis(50), ..open() };
    let office = Office::on(Folder::new(), NOON_MS, webhooks).await;
    let mut answers = vec![Answer::Silence];
    answers.extend(statuses(&[500]));
    let catcher = Catcher::new(answers).await;
    let id = office.end(&catcher.url, 200, json!({})).await;
    let mut tried = 0;
    let record = loop {
        let record = office.delivery(id, |record| record.log.len() > tried).await;
        tried = record.log.len();
        match record.state {
            DeliveryState::Pending => office.clock.set(record.next_ms.unwrap()),
            DeliveryState::Delivered | DeliveryState::Failed => break record,
        }
    };
    assert_eq!((record.state, record.log.len()), (DeliveryState::Failed, 31));
    let silent = &record.log[0];
    assert_eq!((silent.status, silent.error.as_deref().map(|e| e.contains("too slow"))), (None, Some(true)));
    assert_eq!(catcher.so_far().len(), 31);
}

#[tokio::test]
async fn a_redirect_is_final_and_not_followed() {
    let (office, elsewhere) = (Office::new().await, Catcher::new([]).await);
    let catcher = Catcher::new([Answer::Redirect(elsewhere.url.clone())]).await;
    let id = office.end(&catcher.url, 200, json!({})).await;
    let record = office.delivery(id, |record| record.state != DeliveryState::Pending).await;
    assert_eq!((record.state, record.next_ms, record.log.len()), (DeliveryState::Failed, None, 1));
    assert_eq!(record.log[0].status, Some(302));
    assert_eq!(record.log[0].error.as_deref(), Some("the receiver answered 302; redirects are not followed"));
    assert_eq!((catcher.so_far().len(), elsewhere.so_far().len()), (1, 0));
}

#[tokio::test]
async fn a_private_receiver_is_refused_unless_the_owner_allows_it() {
    let office = Office::on(Folder::new(), NOON_MS, WebhooksConfig::default()).await;
    let catcher = Catcher::new([]).await;
    for url in [catcher.url.clone(), catcher.url.replace("127.0.0.1", "localhost"), "ftp://example.com/".into()] {
        let id = office.end(&url, 200, json!({})).await;
        let record = office.delivery(id, |record| record.state != DeliveryState::Pending).await;
        assert_eq!((record.state, record.log.len(), record.log[0].status), (DeliveryState::Failed, 1, None), "{url}");
        let error = record.log[0].error.clone().unwrap();
        assert!(error.contains("not on the public internet") || error.contains("ftp:"), "{error}");
    }
    assert_eq!(catcher.so_far().len(), 0);
}

#[tokio::test]
async fn a_delivery_survives_the_process_that_began_it() {
    let catcher = Catcher::new([Answer::Silence, Answer::Silence, Answer::Status(200)]).await;
    let office = Office::new().await;
    let id = office.end(&catcher.url, 200, json!({})).await;
    catcher.caught(1).await;
    // killed in the middle of an attempt: the lease has to end first
    let folder = office.killed();
    let office = Office::on(folder, NOON_MS + 150_000, open()).await;
    catcher.caught(2).await;
    // told to stop in the middle of one: the next begins at once
    let folder = office.stopped().await;
    let office = Office::on(folder, NOON_MS + 150_000, open()).await;
    let record = office.delivery(id, |record| record.state == DeliveryState::Delivered).await;
    let log: Vec<_> = record.log.iter().map(|attempt| (attempt.status, attempt.error.as_deref())).collect();
    assert_eq!(log, [(None, Some("this server was stopped")), (Some(200), None)]);
    assert_eq!(catcher.so_far().len(), 3);
}

#[tokio::test]
async fn a_slow_receiver_holds_up_nobody_else() {
    let office = Office::new().await;
    let slow = Catcher::on([127, 0, 0, 2].into(), [Answer::Silence]).await;
    let fast = Catcher::new([]).await;
    for _ in 0..200 {
        office.end(&slow.url, 200, json!({})).await;
    }
    slow.caught(4).await;
    let mut told = Vec::new();
    for _ in 0..10 {
        told.push(office.end(&fast.url, 200, json!({})).await);
    }
    for id in told {
        office.delivery(id, |record| record.state == DeliveryState::Delivered).await;
    }
    assert_eq!(slow.so_far().len(), 4, "no more than a few at once to one receiver");
}

#[tokio::test]
async fn what_was_delivered_can_be_delivered_again() {
    let (office, catcher) = (Office::new().await, Catcher::new([]).await);
    let id = office.end(&catcher.url, 200, json!({ "a": 1 })).await;
    office.delivery(id, |record| record.state == DeliveryState::Delivered).await;
    assert!(office.store.redeliver(id).await.unwrap());
    let caught = catcher.caught(2).await;
    assert_eq!(caught[0].body, caught[1].body);
}

#[tokio::test]
async fn a_new_key_is_published_a_day_before_it_signs_and_the_old_one_a_day_after() {
    let (office, catcher) = (Office::new().await, Catcher::new([]).await);
    let first = office.jwks().await;
    let [first, padded] = first["keys"].as_array().unwrap().as_slice() else { panic!("{first}") };
    assert_eq!((&first["kty"], &first["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert_eq!(format!("{}=", first["x"].as_str().unwrap()), padded["x"].as_str().unwrap());

    office.clock.set(NOON_MS + 100 * HOUR_MS);
    let now_ms = NOON_MS + 100 * HOUR_MS;
    let rotation = rotate_webhook_keys(&*office.store, now_ms).await.unwrap();
    assert_eq!(rotation.signs_from_ms, now_ms + 24 * HOUR_MS);
    assert_eq!((rotation.published, rotation.removed), (2, 0));
    let jwks = office.jwks().await;
    assert_eq!((jwks["keys"].as_array().unwrap().len(), &jwks["keys"][0]), (4, first));
    let mut signers = Vec::new();
    for hours in [100, 123, 124] {
        let now_ms = NOON_MS + hours * HOUR_MS;
        office.clock.set(now_ms);
        office.end(&catcher.url, 200, json!({})).await;
        let caught = catcher.caught(signers.len() + 1).await;
        signers.push(verified_by(caught.last().unwrap(), &jwks, now_ms).unwrap());
    }
    let (old, new) = (jwks["keys"][1]["x"].as_str().unwrap(), jwks["keys"][3]["x"].as_str().unwrap());
    assert_eq!(signers, [old, old, new]);

    let now_ms = NOON_MS + 200 * HOUR_MS;
    office.clock.set(now_ms);
    let rotation = rotate_webhook_keys(&*office.store, now_ms).await.unwrap();
    assert_eq!((rotation.published, rotation.removed), (2, 1));
    assert_eq!(office.jwks().await["keys"][0], jwks["keys"][2]);
}

/// Whoever submits may say what their request belongs to, and hears of it again with the end. What is no such word is not
/// passed on.
#[tokio::test]
async fn a_callers_trace_goes_to_the_receiver() {
    let office = Office::new().await;
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (said, heard) in [
        (json!({ "trace": good }), Some(good)),
        (
            json!({ "trace": "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more" }),
            Some(&*good.replace("-01", "-03")),
        ),
        (json!({ "trace": "x\r\nevil: 1" }), None),
        (json!({ "trace": 5 }), None),
        (json!({}), None),
    ] {
        let catcher = Catcher::new([Answer::Status(200)]).await;
        let outcome = Outcome {
            status: 200,
            body: json!({}),
            headers: BTreeMap::new(),
            error: None,
            error_type: None,
            inference_ms: None,
        };
        let job =
            NewJob { webhook: Some(catcher.url.clone()), options: said.clone(), ..NewJob::new(ENDPOINT, json!({})) };
        office.store.enqueue_ended(job, Admission::default(), outcome).await.unwrap();
        let caught = catcher.caught(1).await;
        let got = caught[0].headers.get("traceparent").map(|value| value.to_str().unwrap());
        assert_eq!(got, heard, "{said}");
        assert!(!caught[0].headers.contains_key("evil"));
    }
}
