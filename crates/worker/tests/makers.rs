//! Closed models behind the whole server: real router, real database, a maker that does what the test says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "common/drip.rs"]
mod drip;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use image::{ImageFormat, RgbImage};
use reqwest::Method;
use scumble_testkit::server::{Folder, Setup, TestServer};
use scumble_worker::makers::{Cost, MakerId, Makers, Options, Secret, Settings};
use scumble_worker::{ModelConfig, Models, ModelsConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const KEY: &str = "canary-51c09ae7b3";
const CLOSED: &str = "fal-ai/flux-pro/v1.1";

/// What stands in for Black Forest Labs.
struct Maker {
    url: String,
    state: Arc<Far>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Far {
    url: Mutex<String>,
    submits: AtomicUsize,
    polls: AtomicUsize,
    /// Tasks are ready from this many polls on.
    ready_after: AtomicUsize,
    /// The status with which submits are answered, if not with a task.
    refuses: AtomicUsize,
    /// What becomes of a task that is ready, if not a picture.
    ends: Mutex<Option<&'static str>>,
}

impl Maker {
    async fn new() -> Self {
        let state = Arc::new(Far::default());
        let router = Router::new()
            .route("/v1/flux-pro-1.1", post(submit))
            .route("/v1/get_result", get(poll))
            .route("/result.jpeg", get(picture))
            .with_state(state.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        state.url.lock().unwrap().clone_from(&url);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, _serving: AbortOnDropHandle::new(serving) }
    }

    fn submits(&self) -> usize {
        self.state.submits.load(Ordering::SeqCst)
    }

    /// Makers with this one at its address, and the models of a server with them.
    fn models(&self, more: impl FnOnce(&mut ModelsConfig, &mut Settings)) -> (Models, Arc<Makers>) {
        let mut settings = Settings::default();
        settings.bfl.api_key = Some(Secret::new(KEY));
        settings.bfl.base_url = Some(self.url.clone());
        let mut config = ModelsConfig::default();
        more(&mut config, &mut settings);
        let options = Options { allow_private: true, pace: Some(0.01), ..Options::default() };
        let makers = Arc::new(Makers::new(&settings, options).unwrap());
        config.makers = Some(makers.clone());
        (Models::new(&config).unwrap(), makers)
    }

    async fn server(&self, folder: Folder) -> TestServer {
        TestServer::answering(Setup { folder, ..Setup::default() }, self.models(|_, _| {}).0).await
    }
}

async fn submit(State(far): State<Arc<Far>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert_eq!(headers["x-key"], KEY);
    far.submits.fetch_add(1, Ordering::SeqCst);
    let refuses = far.refuses.load(Ordering::SeqCst);
    if refuses > 0 {
        let status = axum::http::StatusCode::from_u16(u16::try_from(refuses).unwrap()).unwrap();
        return (status, format!("WORDS {KEY}")).into_response();
    }
    let (url, id) = (far.url.lock().unwrap().clone(), body["seed"].to_string());
    Json(json!({ "id": id, "polling_url": format!("{url}/v1/get_result?id={id}"), "cost": 4.0 })).into_response()
}

async fn poll(State(far): State<Arc<Far>>, Query(asked): Query<HashMap<String, String>>) -> Json<Value> {
    let polls = far.polls.fetch_add(1, Ordering::SeqCst);
    if polls < far.ready_after.load(Ordering::SeqCst) {
        return Json(json!({ "id": asked["id"], "status": "Pending" }));
    }
    if let Some(status) = *far.ends.lock().unwrap() {
        return Json(json!({ "id": asked["id"], "status": status }));
    }
    let sample = format!("{}/result.jpeg?sig=a%2Fb", far.url.lock().unwrap());
    let seed: u64 = asked["id"].parse().unwrap();
    Json(json!({ "id": asked["id"], "status": "Ready", "result": { "sample": sample, "seed": seed } }))
}

async fn picture(headers: HeaderMap) -> Response {
    assert!(!headers.contains_key("x-key"));
    ([(header::CONTENT_TYPE, "image/jpeg")], jpeg()).into_response()
}

fn jpeg() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let shade = |x, y| image::Rgb([x as u8, y as u8, 99]);
    RgbImage::from_fn(64, 48, shade).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

async fn submitted(server: &TestServer, endpoint: &str, input: &Value) -> Value {
    let sent = server.request(Method::POST, &format!("/queue/{endpoint}")).json(input).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    sent.json().await.unwrap()
}

/// The result of a request: status, headers, body.
async fn result(server: &TestServer, request: &Value) -> (u16, HeaderMap, Value) {
    let path = request["response_url"].as_str().unwrap().split_once("/queue").unwrap().1.to_owned();
    let answer = server.request(Method::GET, &format!("/queue{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.json().await.unwrap())
}

fn moved(request: &Value, server: &TestServer) -> Value {
    let at = |name: &str| {
        let path = request[name].as_str().unwrap().split_once("/queue").unwrap().1;
        format!("{}/queue{path}", server.url)
    };
    json!({ "status_url": at("status_url"), "response_url": at("response_url") })
}

fn log(status: &Value) -> String {
    status["logs"].as_array().unwrap().iter().map(|line| format!("{}\n", line["message"].as_str().unwrap())).collect()
}

/// Whether the key is anywhere in a folder: database, its journal, files.
fn assert_no_key(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_key(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "the key is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_closed_model_feels_like_any_other() {
    let maker = Maker::new().await;
    maker.state.ready_after.store(2, Ordering::SeqCst);
    let folder = Folder::new();
    let server = maker.server(folder.clone()).await;
    let input = json!({ "prompt": "a red panda", "seed": 5, "num_images": 2 });
    let request = submitted(&server, CLOSED, &input).await;
    let status = server.ended(&request).await;
    let lines = log(&status);
    assert!(lines.contains("answered by bfl") && lines.contains("as task 5"), "{lines}");
    let (status, headers, body) = result(&server, &request).await;
    assert_eq!(
        (status, &headers["x-fal-billable-units"], &headers["x-scumble-cost-usd"]),
        (200, &"2".parse().unwrap(), &"0.080000".parse().unwrap())
    );
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["images", "timings", "seed", "has_nsfw_concepts", "prompt"]);
    assert_eq!((&body["seed"], &body["has_nsfw_concepts"]), (&json!(5), &json!([false, false])));
    assert!(body["timings"]["inference"].is_number());
    let image = &body["images"][0];
    assert_eq!(
        (&image["width"], &image["height"], &image["content_type"]),
        (&json!(64), &json!(48), &json!("image/jpeg"))
    );
    let path = image["url"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
    let file = server.request(Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&file[..], &jpeg()[..]);
    // a direct call gives the pictures inside
    let input = json!({ "prompt": "a red panda", "sync_mode": true });
    let answer = server.request(Method::POST, &format!("/run/{CLOSED}")).json(&input).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert!(body["images"][0]["url"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
    assert_no_key(&server.stopped().await.path());
}

#[tokio::test]
async fn a_restart_in_the_middle_pays_once() {
    for orderly in [true, false] {
        let maker = Maker::new().await;
        maker.state.ready_after.store(usize::MAX, Ordering::SeqCst);
        let server = maker.server(Folder::new()).await;
        let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda", "seed": 7 })).await;
        while maker.state.polls.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let folder = if orderly { server.stopped().await } else { server.killed() };
        maker.state.ready_after.store(0, Ordering::SeqCst);
        let (models, makers) = maker.models(|_, _| {});
        let server = TestServer::answering(Setup { folder, ..Setup::default() }, models).await;
        let request = moved(&request, &server);
        let status = server.ended(&request).await;
        assert!(log(&status).contains("not submitted again"), "{}", log(&status));
        let (status, headers, body) = result(&server, &request).await;
        assert_eq!((status, &body["seed"], maker.submits()), (200, &json!(7), 1), "{body}");
        // and it counts, though this process sent nothing
        assert_eq!((cost(&headers), makers.spent(MakerId::Bfl)), (Some("0.040000"), Cost::from_usd(0.04)));
    }
}

#[tokio::test]
async fn what_was_billed_for_nothing_is_in_the_books() {
    for (ends, expected, left) in [("Content Moderated", "0.040000", 0.04), ("Request Moderated", "0.000000", 0.0)] {
        let maker = Maker::new().await;
        *maker.state.ends.lock().unwrap() = Some(ends);
        let server = maker.server(Folder::new()).await;
        let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
        server.ended(&request).await;
        let (status, headers, body) = result(&server, &request).await;
        assert_eq!((status, &body["detail"][0]["type"]), (422, &json!("content_policy_violation")), "{body}");
        assert_eq!((cost(&headers), &headers["x-fal-billable-units"]), (Some(expected), &"0".parse().unwrap()));
        let history = server.request(Method::GET, "/history").send().await.unwrap().text().await.unwrap();
        assert!(history.contains(&format!("${left} to bfl")), "{history}");
        assert_eq!(spent_after_restart(&maker, server).await, Cost::from_usd(left));
    }
}

#[tokio::test]
async fn what_was_cancelled_at_a_maker_is_in_the_books() {
    let maker = Maker::new().await;
    maker.state.ready_after.store(usize::MAX, Ordering::SeqCst);
    let server = maker.server(Folder::new()).await;
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    while maker.state.polls.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let path = request["cancel_url"].as_str().unwrap().split_once("/queue").unwrap().1.to_owned();
    let answer = server.request(Method::PUT, &format!("/queue{path}")).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    server.ended(&request).await;
    let (status, headers, _) = result(&server, &request).await;
    assert_eq!((status, cost(&headers)), (499, Some("0.040000")));
    assert_eq!(spent_after_restart(&maker, server).await, Cost::from_usd(0.04));
}

fn cost(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-scumble-cost-usd").map(|value| value.to_str().unwrap())
}

/// What the next process believes to have spent when it begins to work.
async fn spent_after_restart(maker: &Maker, server: TestServer) -> Cost {
    let folder = server.stopped().await;
    let (models, makers) = maker.models(|_, _| {});
    let server = TestServer::answering(Setup { folder, ..Setup::default() }, models).await;
    // a job that ends says that the work has begun; a refused one costs nothing
    maker.state.refuses.store(400, Ordering::SeqCst);
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    server.ended(&request).await;
    makers.spent(MakerId::Bfl)
}

#[tokio::test]
async fn errors_are_fals_own() {
    let maker = Maker::new().await;
    maker.state.refuses.store(403, Ordering::SeqCst);
    let server = maker.server(Folder::new()).await;
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    server.ended(&request).await;
    let (status, headers, body) = result(&server, &request).await;
    assert_eq!((status, &body["detail"][0]["type"]), (500, &json!("downstream_service_unavailable")));
    assert_eq!(
        (&headers["x-fal-retryable"], &headers["x-fal-needs-retry"]),
        (&"false".parse().unwrap(), &"0".parse().unwrap())
    );
    assert!(!body.to_string().contains("WORDS"), "{body}");
    // a maker without a key says which one
    let request = submitted(&server, "fal-ai/recraft/v2/text-to-image", &json!({ "prompt": "a fox" })).await;
    server.ended(&request).await;
    let (status, _, body) = result(&server, &request).await;
    let said = body["detail"].as_str().unwrap();
    assert!(status == 400 && said.contains("RECRAFT_API_KEY") && said.contains("[providers.recraft]"), "{body}");
    assert_no_key(&server.stopped().await.path());
}

#[tokio::test]
async fn the_owner_decides_who_answers() {
    let maker = Maker::new().await;
    let (models, makers) = maker.models(|config, settings| {
        let provider = |list: &[&str]| ModelConfig {
            provider: list.iter().map(|name| (*name).to_owned()).collect(),
            ..ModelConfig::default()
        };
        config.models.insert(CLOSED.to_owned(), provider(&["local", "bfl", "stand-in"]));
        settings.bfl.spend_per_day = Some(0.05);
    });
    let folder = Folder::new();
    let server = TestServer::answering(Setup { folder: folder.clone(), ..Setup::default() }, models).await;
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    let lines = log(&server.ended(&request).await);
    assert!(lines.contains("answered by local: it is the first of local, bfl, stand-in"), "{lines}");
    assert!(lines.contains("answered by bfl: local cannot answer now"), "{lines}");
    assert_eq!(makers.spent(MakerId::Bfl), Cost::from_usd(0.04));
    // the money is gone: the next in order, and the maker is not asked
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    let lines = log(&server.ended(&request).await);
    assert!(lines.contains("answered by stand-in: bfl cannot answer now"), "{lines}");
    let (_, headers, _) = result(&server, &request).await;
    assert_eq!((headers.get("x-scumble-stand-in").map(|v| v.to_str().unwrap()), maker.submits()), (Some("1"), 1));
    // and it stays gone after a restart
    let folder = server.stopped().await;
    let (models, makers) = maker.models(|_, settings| settings.bfl.spend_per_day = Some(0.05));
    let server = TestServer::answering(Setup { folder, ..Setup::default() }, models).await;
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    server.ended(&request).await;
    let (status, _, body) = result(&server, &request).await;
    assert!(status == 500 && body["detail"][0]["msg"].as_str().unwrap().contains("spend_per_day"), "{body}");
    assert_eq!((maker.submits(), makers.spent(MakerId::Bfl)), (1, Cost::from_usd(0.04)));
}

#[test]
fn who_cannot_answer_is_named() {
    let refused = |name: &str, makers: bool| {
        let mut config = ModelsConfig::default();
        let own = ModelConfig { provider: vec![name.to_owned()], ..ModelConfig::default() };
        config.models.insert(CLOSED.to_owned(), own);
        config.makers = makers.then(|| Arc::new(Makers::new(&Settings::default(), Options::default()).unwrap()));
        Models::new(&config).err().unwrap()
    };
    assert!(refused("openai", true).contains("there are local, bfl, ideogram, google, recraft, fal, stand-in"));
    assert!(refused("recraft", true).contains("Recraft does not serve this endpoint"));
    assert!(refused("bfl", false).contains("no makers are configured"));
}

#[tokio::test]
async fn what_passes_at_a_maker_is_tried_again_as_long_as_nothing_was_billed() {
    let maker = Maker::new().await;
    maker.state.refuses.store(503, Ordering::SeqCst);
    let server = maker.server(Folder::new()).await;
    // a direct call is told at once
    let sent = server.request(Method::POST, &format!("/run/{CLOSED}")).json(&json!({ "prompt": "a red panda" }));
    let answer = sent.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-fal-needs-retry"]), (500, &"1".parse().unwrap()));
    let asked = maker.submits();
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    // one attempt asks as often as the call did; the next one finds the maker well
    while maker.submits() < 2 * asked {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    maker.state.refuses.store(0, Ordering::SeqCst);
    let status = server.ended(&request).await;
    let (code, headers, body) = result(&server, &request).await;
    assert_eq!((code, cost(&headers)), (200, Some("0.040000")), "{body} {}", log(&status));
    assert_eq!(maker.submits(), 2 * asked + 1);
}

#[tokio::test]
async fn a_caller_who_wants_no_retries_gets_none_at_makers_either() {
    let maker = Maker::new().await;
    maker.state.refuses.store(503, Ordering::SeqCst);
    let server = maker.server(Folder::new()).await;
    let sent = server.request(Method::POST, &format!("/queue/{CLOSED}")).header("x-fal-no-retry", "1");
    let request: Value = sent.json(&json!({ "prompt": "a fox" })).send().await.unwrap().json().await.unwrap();
    server.ended(&request).await;
    let asked = maker.submits();
    let (code, headers, body) = result(&server, &request).await;
    assert_eq!((code, &body["detail"][0]["type"]), (500, &json!("downstream_service_unavailable")));
    assert_eq!((&headers["x-fal-needs-retry"], asked), (&"1".parse().unwrap(), maker.submits()));
}

#[tokio::test]
async fn what_was_billed_is_not_tried_again() {
    let maker = Maker::new().await;
    *maker.state.ends.lock().unwrap() = Some("Error");
    let server = maker.server(Folder::new()).await;
    let request = submitted(&server, CLOSED, &json!({ "prompt": "a red panda" })).await;
    server.ended(&request).await;
    let (code, headers, body) = result(&server, &request).await;
    assert!(code >= 400 && cost(&headers) == Some("0.040000"), "{code} {headers:?} {body}");
    assert_eq!(maker.submits(), 1);
}

/// An endpoint of the same maker that starts from a picture.
const REDUX: &str = "fal-ai/flux-pro/v1.1/redux";

/// A server with one place for makers.
async fn with_one_place(maker: &Maker) -> TestServer {
    let mut setup = Setup::default();
    setup.worker.far_concurrency = 1;
    setup.worker.fetch.allow_private = true;
    TestServer::answering(setup, maker.models(|_, _| {}).0).await
}

#[tokio::test]
async fn a_picture_that_drips_holds_nobodys_place_and_can_be_cancelled() {
    let (maker, drip) = (Maker::new().await, drip::Drip::new().await);
    let server = with_one_place(&maker).await;
    let input = json!({ "prompt": "x", "image_url": drip.url });
    let request = submitted(&server, REDUX, &input).await;
    while drip.open() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let plain = server.request(Method::POST, &format!("/run/{CLOSED}")).json(&json!({ "prompt": "a red panda" }));
    let answer = plain.timeout(Duration::from_secs(10)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the next one has the place");
    let began = Instant::now();
    let path = request["cancel_url"].as_str().unwrap().split_once("/queue").unwrap().1.to_owned();
    let cancelled = server.request(Method::PUT, &format!("/queue{path}")).send().await.unwrap();
    assert_eq!(cancelled.status(), 202);
    server.ended(&request).await;
    assert_eq!(result(&server, &request).await.0, 499);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn dripping_pictures_of_one_key_leave_room_for_others() {
    let (maker, drip) = (Maker::new().await, drip::Drip::new().await);
    let server = with_one_place(&maker).await;
    let (one, other) = (server.key().await, server.key().await);
    let input = json!({ "prompt": "x", "image_url": drip.url });
    for _ in 0..24 {
        let sent =
            server.request(Method::POST, &format!("/queue/{REDUX}")).header("authorization", format!("Key {one}"));
        assert_eq!(sent.json(&input).send().await.unwrap().status(), 200);
    }
    // as many as one key's share
    while drip.open() < 16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let call = server.request(Method::POST, &format!("/run/{CLOSED}")).header("authorization", format!("Key {other}"));
    let answer = call.json(&json!({ "prompt": "x" })).timeout(Duration::from_secs(10)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(drip.open() <= 17, "{} at once", drip.open());
}

#[tokio::test]
async fn pictures_that_come_are_sent_along() {
    let maker = Maker::new().await;
    let server = with_one_place(&maker).await;
    let url = format!("{}/result.jpeg", maker.url);
    let request = submitted(&server, REDUX, &json!({ "prompt": "x", "image_url": url })).await;
    let status = server.ended(&request).await;
    let (code, _, body) = result(&server, &request).await;
    // the maker wants sides of at least 256 pixels, and this one has 64
    assert_eq!((code, &body["detail"][0]["type"]), (422, &json!("image_too_small")), "{body} {}", log(&status));
}
