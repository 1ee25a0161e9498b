//! Addressing, keys, and what is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use reqwest::{Method, RequestBuilder};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};

async fn status_and_body(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-fal-request-id"].len(), 36, "every answer has a request id");
    assert_eq!(answer.headers()["content-type"], "application/json", "every answer is JSON");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*", "browsers may read every answer");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

#[tokio::test]
async fn host_prefix_proxy_and_bare_paths_reach_the_same_endpoint() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let post = |path: &str| server.request(Method::POST, path).json(&star());
    let proxy = |target: &str| post("/api/fal/proxy").header("x-fal-target-url", target);
    for request in [
        post("/run/scumble/starter"),
        post("/run/scumble/starter/"),
        post("/scumble/starter"),
        post("/scumble/starter").header("host", "fal.run"),
        proxy("https://fal.run/scumble/starter"),
    ] {
        let (status, body) = status_and_body(request).await;
        assert_eq!((status, &body["prompt"]), (200, &"a star".into()));
    }
    for request in [
        post("/queue/scumble/starter"),
        post("/scumble/starter").header("host", "queue.fal.run"),
        proxy("https://queue.fal.run/scumble/starter"),
    ] {
        assert_eq!(status_and_body(request).await.1["status"], "IN_QUEUE");
    }
}

#[tokio::test]
async fn urls_echo_the_callers_address() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let by_host = server.request(Method::POST, "/scumble/starter").header("host", "queue.fal.run").json(&star());
    let (_, submitted) = status_and_body(by_host).await;
    assert!(submitted["status_url"].as_str().unwrap().starts_with("http://queue.fal.run/scumble/starter/requests/"));
    let run = server.request(Method::POST, "/scumble/starter").header("host", "fal.run:8443").json(&star());
    let (_, output) = status_and_body(run).await;
    assert!(output["images"][0]["url"].as_str().unwrap().starts_with("http://v3.fal.media:8443/files/b/"));
}

#[tokio::test]
async fn a_proxy_opens_nothing_but_fals_own_services() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for target in ["https://example.com/run/a/b", "http://169.254.169.254/", "https://fal.run:1/a/b", ""] {
        let request = server.request(Method::POST, "/api/fal/proxy").header("x-fal-target-url", target).json(&star());
        assert_eq!(status_and_body(request).await, (400, "Invalid request".into()), "{target}");
    }
    let elsewhere = server.request(Method::POST, "/run/scumble/starter");
    let elsewhere = elsewhere.header("x-fal-target-url", "https://queue.fal.run/a/b").json(&star());
    assert_eq!(status_and_body(elsewhere).await.0, 200, "honoured on the proxy route only");
}

#[tokio::test]
async fn a_proxy_keeps_method_and_query_and_says_who_may_not_call() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let proxy = |method: Method, target: &str| {
        server.request(method, "/api/fal/proxy?ignored=1").header("x-fal-target-url", target)
    };
    let call = || proxy(Method::POST, "https://queue.fal.run/scumble/starter").json(&star());
    let (_, submitted) = status_and_body(call()).await;
    let id = submitted["request_id"].as_str().unwrap();
    let target = |rest: &str| format!("https://queue.fal.run/scumble/starter/requests/{id}{rest}");
    let (_, with_logs) = status_and_body(proxy(Method::GET, &target("/status?logs=1"))).await;
    let (_, without) = status_and_body(proxy(Method::GET, &target("/status?logs=0"))).await;
    assert!(with_logs["logs"].is_array() && without["logs"].is_null(), "the target's query counts");
    let (status, _) = status_and_body(proxy(Method::PUT, &target("/cancel"))).await;
    assert!([200, 202, 400].contains(&status), "PUT is passed on: {status}");
    assert_eq!(status_and_body(proxy(Method::DELETE, &target(""))).await.0, 405, "DELETE is passed on to the queue");
    assert_eq!(status_and_body(proxy(Method::PATCH, &target(""))).await.0, 405);
    let twice = call().header("x-fal-target-url", "https://fal.run/scumble/starter");
    assert_eq!(status_and_body(twice).await, (400, "Invalid request".into()), "two targets are none");
    let missing = server.request(Method::POST, "/api/fal/proxy").json(&star());
    assert_eq!(status_and_body(missing).await, (400, "Invalid request".into()));

    let key = server.key().await;
    assert_eq!(status_and_body(call()).await, (401, "Unauthorized".into()));
    let (status, refusal) = status_and_body(call().header("authorization", "Key wrong")).await;
    assert_eq!((status, refusal["detail"].as_str()), (401, Some("This key is not valid here")));
    assert_eq!(status_and_body(call().header("authorization", format!("Key {key}"))).await.0, 200);
}

#[tokio::test]
async fn other_services_run_no_models() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for (host, status) in [("rest.fal.ai", 404), ("v3.fal.media", 404), ("ws.fal.run", 405)] {
        let request = server.request(Method::POST, "/scumble/starter").header("host", host).json(&star());
        assert_eq!(status_and_body(request).await.0, status, "{host}");
    }
}

#[tokio::test]
async fn keys_open_the_door_and_revoking_the_last_one_leaves_it_shut() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let key = server.key().await;
    let call = |authorization: Option<String>| {
        let request = server.request(Method::POST, "/run/scumble/starter").json(&star());
        match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    };
    assert!(status_and_body(call(None)).await.1["detail"].as_str().unwrap().starts_with("A key is needed"));
    for refused in ["Key nonsense".into(), format!("Basic {key}"), key.clone()] {
        assert_eq!(status_and_body(call(Some(refused))).await.0, 401);
    }
    for accepted in [format!("Key {key}"), format!("key {key}"), format!("BEARER {key}")] {
        assert_eq!(status_and_body(call(Some(accepted))).await.0, 200);
    }
    assert!(server.store.revoke_key(key.split(':').next().unwrap()).await.unwrap());
    assert_eq!(status_and_body(call(Some(format!("Key {key}")))).await.0, 401);
    for path in ["/health", "/ready"] {
        assert_eq!(server.request(Method::GET, path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn wrong_input_is_refused_by_calls_and_reported_by_the_queue() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let missing = server.request(Method::POST, "/run/scumble/starter");
    let (status, body) = status_and_body(missing).await;
    assert_eq!(
        (status, &body["detail"][0]["type"], &body["detail"][0]["loc"]),
        (422, &"missing".into(), &json!(["body", "prompt"]))
    );
    let wrong = json!({ "prompt": "x", "num_inference_steps": 0, "image_size": { "width": 7, "height": 7 } });
    let submitted = server.submit(&wrong).await;
    let ended = server.ended(&submitted).await;
    assert!(ended["error"].as_str().unwrap().contains("num_inference_steps"));
    let result = reqwest::Client::new().get(submitted["response_url"].as_str().unwrap());
    let (status, body) = status_and_body(result).await;
    let kinds: Vec<_> = body["detail"].as_array().unwrap().iter().map(|p| p["loc"].as_array().unwrap().len()).collect();
    assert_eq!((status, kinds), (422, vec![3, 3, 2]));
}

#[tokio::test]
async fn errors_are_json_wherever_they_come_from() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let post = |path: &str, body: &'static str| server.request(Method::POST, path).body(body);
    let (status, body) = status_and_body(post("/run/nobody/nothing", "{}")).await;
    assert_eq!((status, body), (404, json!({ "detail": "Application \"nobody/nothing\" not found" })));
    let (status, body) = status_and_body(post("/run/scumble/starter", "{\"prompt\": ")).await;
    assert_eq!((status, &body["detail"][0]["type"]), (422, &"json_invalid".into()));
    assert_eq!(status_and_body(server.request(Method::GET, "/no/such/page")).await.0, 404);
    assert_eq!(status_and_body(server.request(Method::DELETE, "/run/scumble/starter")).await.0, 405);
    let large = server.request(Method::POST, "/run/scumble/starter").body(vec![b' '; 70_000]);
    assert_eq!(status_and_body(large).await.0, 413);
    for path in ["/cdn/files/b/../../scumble.db", "/cdn/files/%2e%2e/scumble.db", "/cdn/files/b/0/x.png", "/files/x"] {
        assert_eq!(status_and_body(server.request(Method::GET, path)).await.0, 404, "{path}");
    }
    let unknown = "/queue/scumble/starter/requests/00000000-0000-4000-8000-000000000000";
    assert_eq!(status_and_body(server.request(Method::GET, unknown)).await.0, 404);
}

#[tokio::test]
async fn a_request_is_only_there_under_its_own_app() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let submitted = server.submit(&star()).await;
    server.ended(&submitted).await;
    let id = submitted["request_id"].as_str().unwrap();
    for (path, status) in [
        (format!("/queue/scumble/starter/requests/{id}"), 200),
        (format!("/queue/scumble/starter/requests/{id}/response"), 200),
        (format!("/queue/scumble/starter/requests/{id}/"), 200),
        (format!("/queue/fal-ai/flux/requests/{id}"), 404),
    ] {
        assert_eq!(status_and_body(server.request(Method::GET, &path)).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn browsers_may_call_from_anywhere() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let preflight = server
        .request(Method::OPTIONS, "/run/scumble/starter")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-fal-queue-priority")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization,x-fal-queue-priority");
}

#[tokio::test]
async fn the_problems_of_a_deep_input_can_be_read_later() {
    let server = TestServer::new(&FakeRunner::free()).await;
    // as deep as a body may be
    let deep = format!("{}1{}", "{\"a\":".repeat(126), "}".repeat(126));
    for body in [deep.clone(), format!("{{\"prompt\":{}}}", &deep[5..deep.len() - 1])] {
        let submit = server.request(Method::POST, "/queue/scumble/starter").header("content-type", "application/json");
        let (status, submitted) = status_and_body(submit.body(body)).await;
        assert_eq!((status, &submitted["status"]), (200, &"IN_QUEUE".into()));
        server.ended(&submitted).await;
        let result = reqwest::Client::new().get(submitted["response_url"].as_str().unwrap());
        let (status, result) = status_and_body(result).await;
        assert_eq!((status, &result["detail"][0]["loc"][1]), (422, &"prompt".into()));
    }
}
