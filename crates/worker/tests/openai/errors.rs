//! One envelope for whatever goes wrong below `/v1`.

use reqwest::Method;
use scumble_testkit::runner::{FakeRunner, PANIC};
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{EDITS, GENERATIONS, answer, post};

fn in_envelope(body: &Value) -> (&str, &Value) {
    let error = &body["error"];
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"], "{body}");
    assert!(error["message"].as_str().unwrap().len() > 5);
    (error["type"].as_str().unwrap(), &error["code"])
}

#[tokio::test]
async fn every_refusal_is_in_one_envelope() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let plain = |method: Method, path: &str, body: &str| {
        server.request(method, path).header("content-type", "application/json").body(body.to_owned())
    };
    for (method, path, body, status) in [
        (Method::POST, "/v1/chat/completions", "{\"model\":\"scumble/starter\",\"messages\":[]}", 404),
        (Method::GET, "/v1/nope", "", 404),
        (Method::GET, "/v1", "", 404),
        (Method::GET, "/v1/models/nope", "", 404),
        (Method::GET, GENERATIONS, "", 405),
        (Method::DELETE, "/v1/models/scumble/starter", "", 405),
        (Method::POST, "/v1/models", "", 405),
        (Method::POST, GENERATIONS, "{", 400),
        (Method::POST, GENERATIONS, "[]", 400),
        (Method::POST, GENERATIONS, "", 400),
        (Method::POST, EDITS, "", 400),
        (Method::POST, "/v1/images/variations", "{}", 400),
        (Method::POST, GENERATIONS, "{\"model\":\"scumble/starter\"}", 400),
    ] {
        let found = answer(plain(method, path, body), status).await;
        assert_eq!(in_envelope(&found).0, "invalid_request_error", "{path}");
    }
    let not_allowed = plain(Method::PUT, GENERATIONS, "").send().await.unwrap();
    assert_eq!(not_allowed.headers()["allow"], "POST");
    let text: Value = not_allowed.json().await.unwrap();
    assert!(text["error"]["message"].as_str().unwrap().contains("POST"), "{text}");
    // more than the 64 KiB of this server
    let long = json!({ "model": "scumble/starter", "prompt": "x".repeat(70_000) });
    in_envelope(&answer(post(&server, GENERATIONS, &long), 413).await);
    // elsewhere the envelope is fal's
    let elsewhere: Value = server.request(Method::GET, "/v2/nope").send().await.unwrap().json().await.unwrap();
    assert!(elsewhere["detail"].is_string());
}

#[tokio::test]
async fn a_model_that_fails_is_a_server_error_that_nobody_need_repeat() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let call = post(&server, GENERATIONS, &json!({ "model": "scumble/starter", "prompt": PANIC }));
    let found = call.send().await.unwrap();
    assert_eq!(found.status(), 500);
    assert_eq!(found.headers()["x-should-retry"], "false");
    assert_eq!(found.headers()["x-request-id"], found.headers()["x-fal-request-id"]);
    assert_eq!(in_envelope(&found.json().await.unwrap()).0, "server_error");
}

/// The answer to a head whose body is promised and does not come.
async fn to_head(server: &TestServer, path: &str, authorization: &str) -> String {
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}content-type: multipart/form-data; boundary=b\r\n\
         content-length: 50000\r\n\r\n--b\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read(&mut answer)).await;
    let length = read.expect("an answer before the body").unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn strangers_are_refused_before_their_body_is_read() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let _key = server.key().await;
    for path in [GENERATIONS, EDITS, "/v1/images/variations"] {
        for authorization in ["", "authorization: Bearer wrong\r\n"] {
            let found = to_head(&server, path, authorization).await;
            assert!(found.starts_with("HTTP/1.1 401"), "{path}: {found}");
            assert!(found.contains("\"authentication_error\"") && found.contains("x-request-id:"), "{found}");
        }
    }
    let found = to_head(&server, "/v1/chat/completions", "").await;
    assert!(found.starts_with("HTTP/1.1 40"), "{found}");
}
