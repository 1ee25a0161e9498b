//! WebSockets: realtime sessions, and HTTP over a socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod socket;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use scumble_store::ManualClock;
use scumble_testkit::runner::{FakeRunner, PANIC};
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};
use socket::{Received, Socket};
use tokio_tungstenite::tungstenite::Message;

const REALTIME: &str = "/run/scumble/starter/realtime";

fn star(prompt: &str) -> Value {
    json!({ "prompt": prompt, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 }, "seed": 3 })
}

fn idle(milliseconds: u64) -> Setup {
    let mut setup = Setup::default();
    setup.server.realtime_idle = Duration::from_millis(milliseconds);
    setup
}

fn is_error(notice: &Value, word: &str) -> bool {
    assert_eq!((&notice["type"], &notice["error"]), (&"x-fal-error".into(), &"INTERNAL_ERROR".into()), "{notice}");
    notice["reason"].as_str().unwrap().contains(word)
}

#[tokio::test]
async fn inputs_get_their_outputs_in_order_and_pictures_come_as_bytes() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let mut socket = Socket::open(&server, REALTIME).await;
    for prompt in ["first", "second", "é 🌟"] {
        socket.send(&star(prompt)).await;
    }
    for prompt in ["first", "second", "é 🌟"] {
        let output = socket.output().await;
        assert_eq!((output.prompt.as_str(), output.seed, output.request_id), (prompt, 3, None));
        let picture = &output.images[0];
        assert_eq!((picture.width, picture.height, picture.content_type.as_str()), (64, 64, "image/png"));
        let file = reqwest::get(&picture.url).await.unwrap().bytes().await.unwrap();
        assert_eq!(picture.content.0, file, "the bytes are those of the URL");
    }
}

#[tokio::test]
async fn text_gets_text_and_a_request_id_comes_back_in_either_coding() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let mut socket = Socket::open(&server, REALTIME).await;
    let mut input = star("a star");
    input["request_id"] = "4c6e".into();
    socket.send_text(&input.to_string()).await;
    let output = socket.text().await;
    assert_eq!((&output["prompt"], &output["request_id"]), (&"a star".into(), &"4c6e".into()));
    assert!(output["images"][0]["url"].as_str().unwrap().starts_with(&server.url));
    assert_eq!(output["images"][0].get("content"), None, "JSON has no bytes");
    socket.send(&input).await;
    assert_eq!(socket.output().await.request_id.as_deref(), Some("4c6e"));
}

#[tokio::test]
async fn the_same_session_opens_at_every_address() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for path in [
        REALTIME,
        "/run/scumble/starter",
        "/scumble/starter/realtime",
        "/run/scumble/starter/realtime?max_buffering=60",
    ] {
        let mut socket = Socket::open(&server, path).await;
        socket.send(&star(path)).await;
        assert_eq!(socket.output().await.prompt, path);
    }
    let refused = [
        ("/run/nobody/nothing/realtime", 404),
        ("/rest/scumble/starter/realtime", 404),
        ("/run/scumble/starter/realtime?max_buffering=0", 400),
        ("/run/scumble/starter/realtime?max_buffering=61", 400),
        ("/run/scumble/starter/realtime?max_buffering=many", 400),
    ];
    for (path, status) in refused {
        assert_eq!(Socket::try_open(&server, path, None).await.err(), Some(status), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_input_costs_a_notice_and_the_session_goes_on() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let mut socket = Socket::open(&server, REALTIME).await;
    socket.send(&json!({ "prompt": "x", "num_images": 9, "request_id": "7" })).await;
    let notice = socket.text().await;
    assert!(is_error(&notice, "num_images") && notice["request_id"] == "7", "{notice}");
    for garbage in [&b"\xc1"[..], b"", b"\x93\x01\x02\x03", b"\xdf\xff\xff\xff\xff", b"{\"prompt\": 1}"] {
        socket.send_bytes(garbage.to_vec()).await;
        assert!(is_error(&socket.text().await, "input"), "{garbage:?}");
    }
    for garbage in ["{", "[]", "\"prompt\"", ""] {
        socket.send_text(garbage).await;
        assert!(is_error(&socket.text().await, "input"), "{garbage:?}");
    }
    socket.send(&star("after all")).await;
    assert_eq!(socket.output().await.prompt, "after all");
}

#[tokio::test]
async fn a_failed_model_ends_the_session_after_its_notice() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let mut socket = Socket::open(&server, REALTIME).await;
    socket.send(&star(PANIC)).await;
    assert!(is_error(&socket.text().await, "failed"));
    assert_eq!(socket.closed().await, Some(1000));
}

#[tokio::test]
async fn a_full_buffer_forgets_the_oldest_input() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let mut socket = Socket::open(&server, &format!("{REALTIME}?max_buffering=2")).await;
    socket.send(&star("running")).await;
    runner.begun().await;
    for prompt in ["1", "2", "3", "4"] {
        socket.send(&star(prompt)).await;
    }
    socket.settled().await;
    runner.allow(9);
    for prompt in ["running", "3", "4"] {
        assert_eq!(socket.output().await.prompt, prompt);
    }
    assert_eq!(runner.prompts(), ["running", "3", "4"]);
}

#[tokio::test]
async fn inputs_that_wait_are_bounded_in_bytes_too() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let mut socket = Socket::open(&server, REALTIME).await;
    socket.send(&star("running")).await;
    runner.begun().await;
    // 64 KiB may wait
    let large = |c: &str| star(&c.repeat(30_000));
    for prompt in ["a", "b", "c", "d"] {
        socket.send(&large(prompt)).await;
    }
    socket.settled().await;
    runner.allow(9);
    for prompt in ["r", "c", "d"] {
        assert!(socket.output().await.prompt.starts_with(prompt));
    }
}

#[tokio::test]
async fn an_idle_session_says_so_and_closes_but_not_while_it_works() {
    let runner = FakeRunner::gated();
    let server = TestServer::with(idle(50), &runner).await;
    let mut working = Socket::open(&server, REALTIME).await;
    working.send(&star("slow")).await;
    runner.begun().await;
    // opened later, so that the first would have been closed before this one
    let mut quiet = Socket::open(&server, REALTIME).await;
    let notice = quiet.text().await;
    let expected = json!({ "type": "x-fal-error", "error": "TIMEOUT", "reason": "no inputs, reconnect when needed!" });
    assert_eq!(notice, expected);
    assert_eq!(quiet.closed().await, Some(1000));
    runner.allow(1);
    assert_eq!(working.output().await.prompt, "slow");
    assert_eq!(working.text().await["error"], "TIMEOUT");
}

#[tokio::test]
async fn a_caller_who_goes_away_cancels_the_running_job() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let mut socket = Socket::open(&server, REALTIME).await;
    socket.send(&star("abandoned")).await;
    socket.send(&star("never begun")).await;
    runner.begun().await;
    drop(socket);
    // the gate stays closed: only a cancel lets the next request run
    let next = server.submit(&star("next")).await;
    runner.begun().await;
    runner.allow(1);
    server.ended(&next).await;
    assert_eq!(runner.prompts(), ["abandoned", "next"]);
}

#[tokio::test]
async fn a_goodbye_is_answered_and_cancels_the_running_job() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    for path in [REALTIME, "/ws/scumble/starter"] {
        let mut socket = Socket::open(&server, path).await;
        socket.send_text(&star("abandoned").to_string()).await;
        runner.begun().await;
        socket.close().await;
        assert_eq!(socket.closed().await, Some(1000));
        // the socket is still there, the job is not
        let next = server.submit(&star("next")).await;
        runner.begun().await;
        runner.allow(1);
        server.ended(&next).await;
    }
    assert_eq!(runner.prompts(), ["abandoned", "next", "abandoned", "next"]);
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_the_connection() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for path in [REALTIME, "/ws/scumble/starter"] {
        let mut socket = Socket::open(&server, path).await;
        socket.send(&star(&"x".repeat(65 * 1024))).await;
        assert_eq!(socket.closed().await, Some(1009));
    }
}

#[tokio::test]
async fn a_handshake_needs_a_key_and_a_revoked_key_ends_the_session() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    for path in [REALTIME, "/run/scumble/starter", "/scumble/starter/realtime", "/ws/scumble/starter"] {
        assert_eq!(Socket::try_open(&server, path, None).await.err(), Some(401), "{path}");
        assert_eq!(Socket::try_open(&server, path, Some("nonsense")).await.err(), Some(401), "{path}");
    }
    let mut socket = Socket::try_open(&server, REALTIME, Some(&key)).await.unwrap();
    socket.send(&star("allowed")).await;
    assert_eq!(socket.output().await.prompt, "allowed");
    server.store.revoke_key(key.split(':').next().unwrap()).await.unwrap();
    socket.send(&star("refused")).await;
    assert_eq!(socket.text().await, json!({ "status": "error", "error": "Unauthorized" }));
    assert_eq!(socket.closed().await, Some(1000));
}

#[tokio::test]
async fn who_signs_out_on_a_page_ends_its_session_with_the_next_input() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let post = |path: &str| browser.post(format!("{}{path}", server.url)).header("origin", &server.url);
    let signed_in = post("/sign-in").body(format!("key={key}")).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut socket = Socket::open_with(&server, REALTIME, &[("origin", &server.url), ("cookie", &cookie)]).await;
    socket.send(&star("signed in")).await;
    assert_eq!(socket.output().await.prompt, "signed in");
    assert_eq!(post("/sign-out").header("cookie", &cookie).send().await.unwrap().status(), 303);
    socket.send(&star("signed out")).await;
    assert_eq!(socket.text().await, json!({ "status": "error", "error": "Unauthorized" }));
    assert_eq!(socket.closed().await, Some(1000));
}

#[tokio::test]
async fn a_token_that_ends_during_a_session_ends_it_with_the_next_input() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let server = TestServer::with(Setup { clock: clock.clone(), ..idle(60_000) }, &FakeRunner::free()).await;
    let key = server.key().await;
    let token = server.request(Method::POST, "/rest/tokens/").header("authorization", format!("Key {key}"));
    let token = token.json(&json!({ "allowed_apps": ["starter"], "token_expiration": 10 }));
    let token: String = token.send().await.unwrap().json().await.unwrap();
    let path = format!("{REALTIME}?fal_jwt_token={token}&max_buffering=1");
    let mut socket = Socket::open(&server, &path).await;
    clock.advance(9_999);
    socket.send(&star("in time")).await;
    assert_eq!(socket.output().await.prompt, "in time");
    clock.advance(1);
    socket.send(&star("too late")).await;
    assert_eq!(socket.text().await, json!({ "status": "error", "error": "Unauthorized" }));
    assert_eq!(socket.closed().await, Some(1000));
    assert_eq!(Socket::try_open(&server, &path, None).await.err(), Some(401));
}

#[tokio::test]
async fn http_goes_over_a_socket_call_by_call() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let mut socket = Socket::open(&server, "/ws/scumble/starter").await;
    for (input, status) in [(star("a star"), 200), (json!({}), 422), (star("another"), 200)] {
        socket.send_text(&input.to_string()).await;
        let Received::Text(start) = socket.next().await else { panic!("a start") };
        assert_eq!((&start["type"], &start["status"]), (&"start".into(), &status.into()));
        assert_eq!(start["headers"]["content-type"], "application/json");
        let Some(Message::Binary(body)) = socket.message().await else { panic!("a body") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["prompt"], input["prompt"]);
        assert_eq!(body["detail"].is_array(), status == 422);
        let end = socket.text().await;
        assert_eq!((&end["type"], &end["request_id"]), (&"end".into(), &start["request_id"]));
        assert!(end["time_to_first_byte_seconds"].is_number() && end["status"] == status);
    }
    let plain = server.request(Method::GET, "/ws/scumble/starter").send().await.unwrap();
    assert!(plain.status().is_client_error(), "no socket was asked for: {}", plain.status());
}
