//! A server without keys is for programs on its own machine: not for other sites' pages, by whatever name they find it,
//! nor for whom a proxy serves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod socket;

use std::sync::Arc;

use reqwest::{Method, RequestBuilder};
use scumble_server::{Config, Hosts, Origins};
use scumble_store::HistoryFilter;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};
use socket::Socket;

const EVIL: &str = "https://evil.test";

async fn server_with(config: Config) -> TestServer {
    let server = Config { body_bytes: 64 * 1024, ..config };
    TestServer::with(Setup { server, ..Setup::default() }, &FakeRunner::free()).await
}

async fn server() -> TestServer {
    server_with(Config::default()).await
}

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

/// A call of each kind.
fn calls(server: &TestServer) -> Vec<(&'static str, RequestBuilder)> {
    let post = |path: &str| server.request(Method::POST, path).json(&star());
    let text =
        |path: &str| server.request(Method::POST, path).header("content-type", "text/plain").body(star().to_string());
    let unknown = "/queue/scumble/starter/requests/764cabcf-b745-4b3e-ae38-1200304cf45b";
    vec![
        ("run", post("/run/scumble/starter")),
        ("run as text", text("/run/scumble/starter")),
        ("run by GET", server.request(Method::GET, "/run/scumble/starter?prompt=x")),
        ("bare id", text("/scumble/starter")),
        ("stream", post("/run/scumble/starter/stream")),
        ("submit", post("/queue/scumble/starter")),
        ("submit as text", text("/queue/scumble/starter")),
        ("status", server.request(Method::GET, &format!("{unknown}/status"))),
        ("cancel", server.request(Method::PUT, &format!("{unknown}/cancel"))),
        ("token", server.request(Method::POST, "/rest/tokens/").json(&json!({ "allowed_apps": ["starter"] }))),
        ("initiate", post("/rest/storage/upload/initiate")),
        ("upload", server.request(Method::POST, "/cdn/files/upload").body("x")),
        ("put", server.request(Method::PUT, "/cdn/put/b/00000000000000000000000000000000/x.png?token=x").body("x")),
        ("openai", post("/v1/images/generations")),
        ("models", server.request(Method::GET, "/v1/models")),
        ("proxy", post("/api/fal/proxy").header("x-fal-target-url", "https://fal.run/scumble/starter")),
        ("page", server.request(Method::GET, "/history")),
        ("script", server.request(Method::GET, "/assets/1/page.js")),
        ("file", server.request(Method::GET, "/cdn/files/b/00000000000000000000000000000000/x.png")),
    ]
}

/// The status of a WebSocket's handshake with these headers.
async fn handshake(server: &TestServer, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    Socket::attempt(server, path, headers).await.map_or_else(|status| status, |_| 101)
}

const SOCKETS: [&str; 4] =
    ["/run/scumble/starter/realtime", "/run/scumble/starter", "/scumble/starter/realtime", "/ws/scumble/starter"];

/// Expects that everything but the probes is refused with these headers, in JSON, and that nothing came of it.
async fn refused(server: &TestServer, headers: &[(&'static str, &str)]) {
    let with = |request: RequestBuilder| headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
    for (what, call) in calls(server) {
        let answer = with(call).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{what} {headers:?}");
        let is_page = what == "page";
        assert_eq!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"), is_page, "{what}");
        assert_eq!(answer.headers().contains_key("access-control-allow-origin"), !is_page, "{what}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("scumble keys create"), "it says what to do: {text}");
        assert!(is_page || serde_json::from_str::<Value>(&text).unwrap()["detail"].is_string(), "{what}: {text}");
    }
    for path in SOCKETS {
        assert_eq!(handshake(server, path, headers).await, 403, "{path} {headers:?}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(with(server.request(Method::GET, path)).send().await.unwrap().status(), 200, "{path} {headers:?}");
    }
    assert_eq!(server.store.history(&HistoryFilter { limit: 1, ..HistoryFilter::default() }).await.unwrap(), []);
}

/// Expects that calls go through.
async fn let_in(server: &TestServer, headers: &[(&'static str, &str)]) {
    let call = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&star());
    let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{headers:?}: {}", answer.text().await.unwrap());
    assert_eq!(handshake(server, SOCKETS[0], headers).await, 101, "{headers:?}");
    let page = server.request(Method::GET, "/history");
    let page = headers.iter().fold(page, |page, (name, value)| page.header(*name, *value));
    assert_eq!(page.send().await.unwrap().status(), 200, "{headers:?}");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_everywhere() {
    let server = server().await;
    for origin in
        [EVIL, "http://evil.test", "null", "http://localhost.evil.test", "http://192.0.2.1:8787", "nonsense", ""]
    {
        refused(&server, &[("origin", origin)]).await;
    }
    refused(&server, &[("origin", EVIL), ("sec-fetch-site", "cross-site")]).await;
    // browsers let a page ask whether it may ask; the answer to the question itself is no
    let asked = server.request(Method::OPTIONS, "/run/scumble/starter").header("origin", EVIL);
    assert_eq!(asked.header("access-control-request-method", "POST").send().await.unwrap().status(), 200);
    // two origins are none
    let twice = server.request(Method::POST, "/run/scumble/starter").json(&star());
    let twice = twice.header("origin", "http://localhost:3000").header("origin", EVIL);
    assert_eq!(twice.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn own_pages_local_pages_and_listed_pages_are_let_in() {
    let origins = Origins::with(&["https://app.example.com".to_owned(), "http://10.0.0.7:3000/".to_owned()]).unwrap();
    let hosts = Hosts::with(&["images.example".to_owned()]).unwrap();
    let public_url = Some("https://pub.example/scumble".to_owned());
    let config = Config { origins: Arc::new(origins), hosts: Arc::new(hosts), public_url, ..Config::default() };
    let server = server_with(config).await;
    let_in(&server, &[]).await;
    for origin in [
        server.url.as_str(),
        "http://localhost:3000",
        "https://localhost",
        "http://app.localhost:5173",
        "http://127.0.0.1:1",
        "http://[::1]:3000",
        "https://app.example.com",
        "https://APP.example.com:443",
        "http://10.0.0.7:3000",
        "https://pub.example",
        "https://api.images.example",
    ] {
        let_in(&server, &[("origin", origin)]).await;
        // whatever browsers think of how far that is
        let_in(&server, &[("origin", origin), ("sec-fetch-site", "cross-site")]).await;
    }
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "http://10.0.0.7",
        "https://images.example.evil.test",
    ] {
        let call = server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&star()).header("origin", origin);
        assert_eq!(call.send().await.unwrap().status(), 403, "{origin}");
    }
}

#[tokio::test]
async fn names_that_somebody_may_have_pointed_here_are_refused() {
    let server = server().await;
    for host in ["evil.test", "evil.test:8787", "rebound.evil.example", "127.0.0.1.evil.example", "localhost.evil.test"]
    {
        refused(&server, &[("host", host)]).await;
        // a page that was opened by that name is of the same origin
        let origin = format!("http://{host}");
        refused(&server, &[("host", host), ("origin", &origin), ("sec-fetch-site", "same-origin")]).await;
    }
}

#[tokio::test]
async fn addresses_and_names_of_ours_are_answered() {
    let hosts = Hosts::with(&["images.example".to_owned()]).unwrap();
    let public_url = Some("https://pub.example/scumble".to_owned());
    let server = server_with(Config { hosts: Arc::new(hosts), public_url, ..Config::default() }).await;
    for host in [
        "localhost",
        "LOCALHOST:8787",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.1:8787",
        "[::1]:8787",
        "192.0.2.1",
        "gpu",
        "gpu.lan",
        "gpu.local:8787",
        "pub.example",
        "pub.example:8443",
    ] {
        let_in(&server, &[("host", host)]).await;
    }
    // services have paths of their own
    for (host, path) in [
        ("fal.run", "/scumble/starter"),
        ("images.example", "/scumble/starter"),
        ("api.fal.ai", "/run/scumble/starter"),
    ] {
        let call = server.request(Method::POST, path).json(&star()).header("host", host);
        assert_eq!(call.send().await.unwrap().status(), 200, "{host}");
    }
}

#[tokio::test]
async fn links_and_pictures_are_no_calls() {
    let server = server().await;
    let upload = server.request(Method::POST, "/cdn/files/upload").header("content-type", "image/png").body("x");
    let file = upload.send().await.unwrap().json::<Value>().await.unwrap()["access_url"].as_str().unwrap().to_owned();
    let file = file.strip_prefix(&server.url).unwrap().to_owned();
    let get = async |path: &str, site: &str, mode: &str| {
        let get = server.request(Method::GET, path).header("sec-fetch-site", site).header("sec-fetch-mode", mode);
        get.send().await.unwrap().status().as_u16()
    };
    let run = "/run/scumble/starter?prompt=x&num_inference_steps=1";
    for (path, site, mode, expected) in [
        // somebody follows a link
        ("/", "cross-site", "navigate", 200),
        ("/history", "cross-site", "navigate", 200),
        (run, "cross-site", "navigate", 403),
        // a page of anywhere shows a picture of which it knows the URL
        (file.as_str(), "cross-site", "no-cors", 200),
        ("/", "cross-site", "no-cors", 403),
        (run, "cross-site", "no-cors", 403),
        (run, "something-new", "no-cors", 403),
        // another port of this machine, our own page, and what somebody types
        (run, "same-site", "no-cors", 200),
        (run, "same-origin", "cors", 200),
        (run, "none", "navigate", 200),
    ] {
        assert_eq!(get(path, site, mode).await, expected, "{path} {site} {mode}");
    }
    let neighbour = server.request(Method::GET, run).header("host", "gpu.lan").header("sec-fetch-site", "same-site");
    assert_eq!(neighbour.send().await.unwrap().status(), 403, "a name beside ours is somebody else");
    let form = server.request(Method::POST, "/run/scumble/starter").header("sec-fetch-site", "cross-site");
    assert_eq!(form.header("sec-fetch-mode", "navigate").json(&star()).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn what_a_proxy_brings_is_not_local() {
    let untrusting = server().await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=203.0.113.7;proto=https"),
        ("x-real-ip", "203.0.113.7"),
        ("cf-connecting-ip", "203.0.113.7"),
        ("via", "1.1 proxy"),
    ] {
        refused(&untrusting, &[(name, value)]).await;
    }
    // what fal's server proxy sends along says nothing of that kind
    let_in(&untrusting, &[("x-fal-client-proxy", "@fal-ai/server-proxy/express"), ("accept", "application/json")])
        .await;

    let trusting = server_with(Config { trusted_proxy: true, ..Config::default() }).await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "127.0.0.1, 203.0.113.7"),
        ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
        ("x-forwarded-for", "unknown"),
        ("forwarded", "for=\"[2001:db8::1]:4711\""),
        ("x-forwarded-host", "evil.test"),
    ] {
        refused(&trusting, &[(name, value)]).await;
    }
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "::1, 127.0.0.1"),
        ("forwarded", "for=\"[::1]:4711\";proto=http"),
        ("x-forwarded-host", "localhost:3000"),
        ("x-forwarded-proto", "https"),
    ] {
        let_in(&trusting, &[(name, value)]).await;
    }

    let open = server_with(Config { open: true, ..Config::default() }).await;
    let_in(&open, &[("x-forwarded-for", "203.0.113.7"), ("via", "1.1 proxy")]).await;
    let_in(&open, &[("host", "192.0.2.1:8787")]).await;
    // everybody may call: every program, not every page
    for headers in [[("origin", EVIL)], [("host", "evil.test")]] {
        let call = headers.into_iter().fold(server_call(&open), |call, (name, value)| call.header(name, value));
        assert_eq!(call.send().await.unwrap().status(), 403, "{headers:?}");
    }
}

fn server_call(server: &TestServer) -> RequestBuilder {
    server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(&star())
}

#[tokio::test]
async fn with_keys_pages_of_any_site_may_call_that_have_one() {
    let server = server().await;
    let key = format!("Key {}", server.key().await);
    for headers in [
        vec![("origin", EVIL), ("sec-fetch-site", "cross-site")],
        vec![("origin", "null")],
        vec![("host", "images.example")],
        vec![("x-forwarded-for", "203.0.113.7"), ("via", "1.1 proxy")],
    ] {
        let call = headers.iter().fold(server_call(&server), |call, (name, value)| call.header(*name, *value));
        let answer = call.header("authorization", &key).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
            (200, &"*".parse().unwrap())
        );
        let with_key: Vec<_> = headers.into_iter().chain([("authorization", key.as_str())]).collect();
        assert_eq!(handshake(&server, SOCKETS[0], &with_key).await, 101);
    }
}
