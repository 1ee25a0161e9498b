//! A request is there for the key that made it. For others it is as unknown as one that never was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use reqwest::{Method, RequestBuilder};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};

const FLUX: &str = "fal-ai/flux/dev";
const UNKNOWN: &str = "764cabcf-b745-4b3e-ae38-1200304cf45b";

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

fn by(request: RequestBuilder, key: &str) -> RequestBuilder {
    request.header("authorization", format!("Key {key}"))
}

/// Submits with a key, or with none; the request's id.
async fn submitted(server: &TestServer, endpoint: &str, key: Option<&str>) -> String {
    let submit = server.request(Method::POST, &format!("/queue/{endpoint}")).json(&star());
    let submit = key.into_iter().fold(submit, by);
    submit.send().await.unwrap().json::<Value>().await.unwrap()["request_id"].as_str().unwrap().to_owned()
}

async fn token(server: &TestServer, key: &str) -> String {
    let ask = by(server.request(Method::POST, "/rest/tokens/"), key);
    let ask = ask.json(&json!({ "allowed_apps": ["flux", "starter"], "token_expiration": 60 }));
    ask.send().await.unwrap().json().await.unwrap()
}

/// What can be asked of a request.
const ASKED: [(&str, &str); 7] = [
    ("GET", ""),
    ("GET", "/"),
    ("GET", "/response"),
    ("GET", "/status"),
    ("GET", "/status?logs=1"),
    ("GET", "/status/stream"),
    ("PUT", "/cancel"),
];

/// Status, body and headers of an answer, without what is another each time.
async fn answer(request: RequestBuilder) -> (u16, String, Vec<String>) {
    let answer = request.send().await.unwrap();
    let line = |(name, value): (&_, &reqwest::header::HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let varies = |line: &String| ["x-fal-request-id", "date"].iter().any(|name| line.starts_with(name));
    let headers = answer.headers().iter().map(line).filter(|line| !varies(line)).collect();
    (answer.status().as_u16(), answer.text().await.unwrap(), headers)
}

#[tokio::test]
async fn to_another_key_a_request_is_an_unknown_one() {
    let server = TestServer::standing_in(Setup::default()).await;
    let (ann, bob) = (server.key().await, server.key().await);
    let bobs_token = token(&server, &bob).await;
    let anns_token = token(&server, &ann).await;
    let id = submitted(&server, FLUX, Some(&ann)).await;
    // until it has ended, so that there is something to see
    let path = format!("/queue/{FLUX}/requests/{id}/status/stream");
    by(server.request(Method::GET, &path), &ann).send().await.unwrap().text().await.unwrap();
    for app in ["fal-ai/flux", FLUX] {
        for (method, what) in ASKED {
            let ask = |id: &str, key: Option<&str>| {
                let path = format!("/queue/{app}/requests/{id}{what}");
                key.into_iter().fold(server.request(method.parse().unwrap(), &path), by)
            };
            let theirs = answer(ask(&id, Some(&bob))).await;
            assert_eq!(theirs.0, 404, "{method} {app} {what}");
            assert_eq!(theirs, answer(ask(UNKNOWN, Some(&bob))).await, "nobody can tell them apart");
            assert_eq!(ask(&id, None).send().await.unwrap().status(), 401, "{method} {app} {what}");
            let own = ask(&id, Some(&ann)).send().await.unwrap().status();
            assert_eq!(own, if method == "PUT" { 400 } else { 200 }, "{method} {app} {what}");
        }
        let stream = |token: &str, id: &str| {
            let path = format!("/queue/{app}/requests/{id}/status/stream?logs=0&fal_jwt_token={token}");
            server.request(Method::GET, &path)
        };
        let theirs = answer(stream(&bobs_token, &id)).await;
        assert_eq!((theirs.0, &theirs), (404, &answer(stream(&bobs_token, UNKNOWN)).await), "{app}");
        assert_eq!(stream(&anns_token, &id).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn another_key_cancels_nothing() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let (ann, bob) = (server.key().await, server.key().await);
    let (running, waiting) =
        (submitted(&server, ENDPOINT, Some(&ann)).await, submitted(&server, ENDPOINT, Some(&ann)).await);
    runner.begun().await;
    let cancel = |id: &str, key: &str| {
        by(server.request(Method::PUT, &format!("/queue/{ENDPOINT}/requests/{id}/cancel")), key).send()
    };
    for id in [&running, &waiting] {
        let refused = cancel(id, &bob).await.unwrap();
        assert_eq!(refused.status(), 404);
        assert_eq!(refused.json::<Value>().await.unwrap(), json!({ "status": "NOT_FOUND" }));
        let job = server.store.job(id.parse().unwrap()).await.unwrap().unwrap();
        assert!(!job.state.is_end() && !job.cancel_requested);
    }
    // nor under an app that it is not of
    let elsewhere = server.request(Method::PUT, &format!("/queue/fal-ai/flux/requests/{waiting}/cancel"));
    assert_eq!(by(elsewhere, &ann).send().await.unwrap().status(), 404);
    assert_eq!(cancel(&waiting, &ann).await.unwrap().status(), 200);
    assert_eq!(cancel(&running, &ann).await.unwrap().status(), 202);
}

#[tokio::test]
async fn requests_from_before_there_were_keys_are_everybodys() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let id = submitted(&server, ENDPOINT, None).await;
    let path = format!("/queue/{ENDPOINT}/requests/{id}");
    server.request(Method::GET, &format!("{path}/status/stream")).send().await.unwrap().text().await.unwrap();
    let (ann, bob) = (server.key().await, server.key().await);
    for key in [&ann, &bob] {
        // as on their pages of history
        assert_eq!(by(server.request(Method::GET, &path), key).send().await.unwrap().status(), 200);
    }
    assert_eq!(server.request(Method::GET, &path).send().await.unwrap().status(), 401);
}
