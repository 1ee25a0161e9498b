//! Short-lived tokens: who gets them, what they open, and when they end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod socket;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use scumble_store::ManualClock;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};
use socket::Socket;

const STREAM: &str = "/run/scumble/starter/stream";
const REALTIME: &str = "/run/scumble/starter/realtime";

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

async fn status_and_body(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

fn ask(server: &TestServer, key: Option<&str>, body: &Value) -> RequestBuilder {
    let request = server.request(Method::POST, "/rest/tokens/").json(body);
    match key {
        Some(key) => request.header("authorization", format!("Key {key}")),
        None => request,
    }
}

async fn token(server: &TestServer, key: Option<&str>, app: &str) -> String {
    let (status, body) =
        status_and_body(ask(server, key, &json!({ "allowed_apps": [app], "token_expiration": 60 }))).await;
    assert_eq!(status, 200);
    body.as_str().expect("a bare JSON string").to_owned()
}

fn stream(server: &TestServer, token: &str) -> RequestBuilder {
    server.request(Method::POST, &format!("{STREAM}?fal_jwt_token={token}")).json(&star())
}

#[tokio::test]
async fn both_routes_answer_in_the_shape_their_callers_read() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    let post = |path: &str, body: Value| {
        server.request(Method::POST, path).header("authorization", format!("Key {key}")).json(&body)
    };
    for path in ["/rest/tokens/", "/rest/tokens"] {
        let (status, body) = status_and_body(post(path, json!({ "allowed_apps": ["starter"] }))).await;
        assert_eq!((status, body.as_str().map(|t| t.split('.').count())), (200, Some(3)), "{path}");
    }
    let by_host = server.request(Method::POST, "/tokens/").header("host", "rest.alpha.fal.ai");
    let by_host = by_host.header("authorization", format!("Key {key}")).json(&json!({ "allowed_apps": ["starter"] }));
    assert!(status_and_body(by_host).await.1.is_string());
    let wanted = json!({ "allowed_apps": ["scumble/starter/realtime"], "duration": 120 });
    let (_, body) = status_and_body(post("/rest/tokens/realtime", wanted)).await;
    let token = body["token"].as_str().unwrap();
    Socket::open(&server, &format!("{REALTIME}?fal_jwt_token={token}")).await;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["key"], key.split(':').next().unwrap(), "the id, and nothing of the secret");
    assert!(!claims.to_string().contains(key.split(':').nth(1).unwrap()));
}

#[tokio::test]
async fn a_token_needs_a_key_and_sense() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    assert_eq!(status(ask(&server, None, &json!({ "allowed_apps": ["starter"] }))).await, 401);
    let token = token(&server, Some(&key), "starter").await;
    let by_token = server.request(Method::POST, &format!("/rest/tokens/?fal_jwt_token={token}"));
    assert_eq!(status(by_token.json(&json!({ "allowed_apps": ["starter"] }))).await, 401, "tokens make no tokens");
    let apps = ["starter"];
    for (body, field, kind) in [
        (json!({}), "allowed_apps", "missing"),
        (json!({ "allowed_apps": "starter" }), "allowed_apps", "list_type"),
        (json!({ "allowed_apps": [] }), "allowed_apps", "sequence_too_short"),
        (json!({ "allowed_apps": vec!["x"; 65] }), "allowed_apps", "sequence_too_long"),
        (json!({ "allowed_apps": ["starter", 3] }), "allowed_apps", "value_error"),
        (json!({ "allowed_apps": ["../x"] }), "allowed_apps", "value_error"),
        (json!({ "allowed_apps": apps, "token_expiration": 0 }), "token_expiration", "greater_than_equal"),
        (json!({ "allowed_apps": apps, "token_expiration": -1 }), "token_expiration", "greater_than_equal"),
        (json!({ "allowed_apps": apps, "token_expiration": 86_401 }), "token_expiration", "less_than_equal"),
        (json!({ "allowed_apps": apps, "token_expiration": u64::MAX }), "token_expiration", "int_type"),
        (json!({ "allowed_apps": apps, "token_expiration": "soon" }), "token_expiration", "int_type"),
    ] {
        let (status, answer) = status_and_body(ask(&server, Some(&key), &body)).await;
        let problem = &answer["detail"][0];
        assert_eq!((status, &problem["loc"][1], &problem["type"]), (422, &field.into(), &kind.into()), "{body}");
    }
    let broken = server.request(Method::POST, "/rest/tokens/").header("authorization", format!("Key {key}")).body("{");
    assert_eq!(status(broken).await, 422);
}

#[tokio::test]
async fn a_token_opens_streams_and_sockets_and_nothing_else() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    let token = token(&server, Some(&key), "starter").await;
    let answer = stream(&server, &token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-fal-request-id"].to_str().unwrap().to_owned();
    answer.bytes().await.unwrap();
    let job = server.store.job(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(job.key_id.as_deref(), key.split(':').next(), "the job counts for the key");
    let requests = format!("/queue/scumble/starter/requests/{id}");
    let ask = |method: Method, path: &str| {
        let query = if path.contains('?') { '&' } else { '?' };
        server.request(method, &format!("{path}{query}fal_jwt_token={token}")).json(&star())
    };
    assert_eq!(status(ask(Method::GET, &format!("{requests}/status/stream?logs=0"))).await, 200);
    assert_eq!(status(ask(Method::POST, "/scumble/starter/stream")).await, 200);
    for path in [REALTIME, "/run/scumble/starter", "/scumble/starter/realtime"] {
        Socket::open(&server, &format!("{path}?fal_jwt_token={token}")).await;
    }
    for (method, path) in [
        (Method::POST, "/run/scumble/starter"),
        (Method::GET, "/run/scumble/starter"),
        (Method::GET, STREAM),
        (Method::POST, "/queue/scumble/starter"),
        (Method::GET, requests.as_str()),
        (Method::GET, &format!("{requests}/status")),
        (Method::PUT, &format!("{requests}/cancel")),
        (Method::POST, "/scumble/starter"),
    ] {
        assert_eq!(status(ask(method.clone(), path)).await, 401, "{method} {path}");
    }
    let over_socket = format!("/ws/scumble/starter?fal_jwt_token={token}");
    assert_eq!(Socket::try_open(&server, &over_socket, None).await.err(), Some(401));
    let with_both = stream(&server, &token).header("authorization", "Key nonsense");
    assert_eq!(status(with_both).await, 401, "a key that is presented is the one that counts");
}

#[tokio::test]
async fn a_token_opens_only_the_apps_in_it() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    for (app, opens_stream, opens_socket) in [
        ("starter", true, true),
        ("scumble/starter", true, true),
        ("scumble/starter/stream", true, false),
        ("scumble/starter/realtime", false, true),
        ("flux", false, false),
        ("fal-ai/flux/dev", false, false),
        ("scumble", false, false),
    ] {
        let token = token(&server, Some(&key), app).await;
        assert_eq!(status(stream(&server, &token)).await == 200, opens_stream, "{app}");
        let socket = Socket::try_open(&server, &format!("{REALTIME}?fal_jwt_token={token}"), None).await;
        assert_eq!(socket.err(), (!opens_socket).then_some(401), "{app}");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_key() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_500));
    let server = TestServer::with(Setup { clock: clock.clone(), ..Setup::default() }, &FakeRunner::free()).await;
    let (key, other) = (server.key().await, server.key().await);
    let (first, second) = (token(&server, Some(&key), "starter").await, token(&server, Some(&other), "starter").await);
    clock.advance(60_000);
    assert_eq!(status(stream(&server, &first)).await, 200, "seconds are rounded in the caller's favour");
    clock.advance(500);
    let (refused, body) = status_and_body(stream(&server, &first)).await;
    assert_eq!(refused, 401);
    assert!(body["detail"].as_str().unwrap().contains("expired"));
    assert_eq!(status(stream(&server, &second)).await, 401);
    let third = token(&server, Some(&key), "starter").await;
    assert_eq!(status(stream(&server, &third)).await, 200);
    server.store.revoke_key(key.split(':').next().unwrap()).await.unwrap();
    assert_eq!(status(stream(&server, &third)).await, 401, "a revoked key takes its tokens with it");
}

#[tokio::test]
async fn a_token_cannot_be_forged() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let token = token(&server, None, "flux").await;
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let wider = encoded(r#"{"apps":["starter"],"exp":9999999999}"#);
    let none = encoded(r#"{"alg":"none","typ":"JWT"}"#);
    for forged in [
        format!("{header}.{wider}.{signature}"),
        format!("{none}.{wider}."),
        format!("{none}.{claims}.{signature}"),
        format!("{header}.{wider}."),
        format!("{header}.{wider}"),
        token.to_uppercase(),
        "nonsense".into(),
        String::new(),
    ] {
        assert_eq!(status(stream(&server, &forged)).await, 401, "{forged}");
    }
}

#[tokio::test]
async fn a_server_without_keys_gives_tokens_and_believes_no_wrong_ones() {
    let server = TestServer::new(&FakeRunner::free()).await;
    assert_eq!(status(server.request(Method::POST, STREAM).json(&star())).await, 200, "nothing is needed");
    let (right, wrong) = (token(&server, None, "starter").await, token(&server, None, "flux").await);
    assert_eq!(status(stream(&server, &right)).await, 200);
    assert_eq!(status(stream(&server, &wrong)).await, 401);
    server.key().await;
    assert_eq!(status(stream(&server, &right)).await, 401, "with the first key the door is shut");
}

#[tokio::test]
async fn tokens_survive_a_restart() {
    let runner = FakeRunner::free();
    let server = TestServer::new(&runner).await;
    let token = token(&server, None, "starter").await;
    let server = TestServer::on(server.stopped().await, &runner).await;
    assert_eq!(status(stream(&server, &token)).await, 200);
}

#[tokio::test]
async fn a_token_in_the_wrong_place_gets_into_no_input() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let answer =
        server.request(Method::GET, "/run/scumble/starter?fal_jwt_token=secret&prompt=x").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-fal-request-id"].to_str().unwrap().parse().unwrap();
    let job = server.store.job(id).await.unwrap().unwrap();
    assert!(!format!("{job:?}").contains("secret"), "{job:?}");
    assert!(!format!("{:?}", server.store.events(id, 0).await.unwrap()).contains("secret"));
}
