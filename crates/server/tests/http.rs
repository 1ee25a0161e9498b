//! HTTP as programs that nobody here wrote speak it: validators, methods, codings, and errors that can be read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::Write;
use std::time::Duration;

use common::json_of;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, RequestBuilder, Response};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn star(prompt: &str) -> Value {
    json!({ "prompt": prompt, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The status, and the text of an error that must be JSON and have a request id.
async fn refusal(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    assert_eq!((header(&answer, "content-type"), header(&answer, "x-fal-request-id").len()), ("application/json", 36));
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["detail"].as_str().unwrap_or_else(|| panic!("no text in {body}")).to_owned())
}

/// Sends all of something before it reads anything, and gives the answer.
async fn raw(server: &TestServer, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request).await.expect("everything is taken");
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

async fn a_file(server: &TestServer) -> String {
    let output = json_of(server.request(Method::POST, "/run/scumble/starter").json(&star("a star"))).await;
    output["images"][0]["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_has_a_file_is_not_sent_it_again() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let url = a_file(&server).await;
    let ask = |method: Method, headers: &[(&str, &str)]| {
        headers
            .iter()
            .fold(reqwest::Client::new().request(method, &url), |r, (name, value)| r.header(*name, *value))
            .send()
    };
    let whole = ask(Method::GET, &[]).await.unwrap();
    let tag = header(&whole, "etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 4 && tag.ends_with('"'), "a strong tag: {tag}");
    let bytes = whole.bytes().await.unwrap();
    assert_eq!(header(&ask(Method::HEAD, &[]).await.unwrap(), "etag"), tag);
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method, &[("if-none-match", &known), ("range", "bytes=0-1")]).await.unwrap();
            assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (304, tag.as_str()), "{known}");
            assert!(header(&answer, "cache-control").starts_with("public, max-age="));
            assert!(answer.bytes().await.unwrap().is_empty());
        }
    }
    let other = ask(Method::GET, &[("if-none-match", "\"other\"")]).await.unwrap();
    assert_eq!((other.status().as_u16(), other.bytes().await.unwrap()), (200, bytes.clone()));
    // a part is of the file that the reader has begun
    let part = ask(Method::GET, &[("if-range", &tag), ("range", "bytes=1-3")]).await.unwrap();
    assert_eq!((part.status().as_u16(), header(&part, "etag")), (206, tag.as_str()));
    assert_eq!(part.bytes().await.unwrap(), bytes[1..4]);
    for stale in ["\"other\"", &format!("W/{tag}"), "Wed, 21 Oct 2015 07:28:00 GMT"] {
        let answer = ask(Method::GET, &[("if-range", stale), ("range", "bytes=1-3")]).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap()), (200, bytes.clone()), "{stale}");
    }
    let head = ask(Method::HEAD, &[("range", "bytes=1-3")]).await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, bytes.len().to_string().as_str()));
}

#[tokio::test]
async fn a_range_behind_the_end_is_refused_in_words() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let url = a_file(&server).await;
    let ask = || reqwest::Client::new().get(&url).header("range", "bytes=99999999-");
    let range = ask().send().await.unwrap().headers()["content-range"].to_str().unwrap().to_owned();
    let size: u64 = range.strip_prefix("bytes */").unwrap().parse().unwrap();
    let (status, detail) = refusal(ask()).await;
    assert_eq!((status, detail.contains(&size.to_string())), (416, true), "{detail}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_words() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let long = "x".repeat(70_000);
    for (request, status) in [
        (format!("GET /health?{long} HTTP/1.1\r\nhost: a\r\n\r\n"), "431"),
        (format!("GET /health HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"), "431"),
        (format!("GET /health HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200)), "431"),
        (format!("GET /health?{long}{long}{long}{long}{long}{long}{long}{long}"), "431"),
        ("GET /health HTTP/3.7\r\nhost: a\r\n\r\n".to_owned(), "400"),
        ("GET /health HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        ("\u{1}\u{2}\u{3} / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        // after a request that was one
        (format!("GET /health HTTP/1.1\r\nhost: a\r\n\r\nGET /health?{long} HTTP/1.1\r\nhost: a\r\n\r\n"), "431"),
    ] {
        let told = &request[..request.len().min(60)];
        let answer = raw(&server, request.as_bytes()).await;
        let last = &answer[answer.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer to {told}: {answer}"))..];
        assert_eq!(&last[9..12], status, "{told}: {last}");
        let (head, body) = last.split_once("\r\n\r\n").unwrap();
        // bytes that have come together with those of a request before them are the one exception
        if !request.starts_with("GET /health HTTP/1.1\r\nhost: a\r\n\r\nGET") {
            let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{told}: {last}"));
            assert!(body["detail"].is_string() && head.contains("x-fal-request-id: "), "{told}: {last}");
        }
    }
    // below /v1 in OpenAI's words, whatever came before on the connection
    for (request, status) in [
        (format!("GET /v1/models?{long} HTTP/1.1\r\nhost: a\r\n\r\n"), "431"),
        (format!("POST /v1/images/generations HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"), "431"),
        ("GET /v1/models HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        // these are whole, and it is this server that refuses them before it knows a route
        ("GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n".to_owned(), "400"),
    ] {
        let told = &request[..request.len().min(60)];
        let answer = raw(&server, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {told}: {answer}"));
        assert_eq!(&head[9..12], status, "{told}: {answer}");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{told}: {answer}"));
        assert!(body["error"]["message"].is_string() && body["error"]["type"] == "invalid_request_error", "{answer}");
        let id = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        assert!(id("x-request-id").is_some() && id("x-request-id") == id("x-fal-request-id"), "{answer}");
    }
    let mut kept = tokio::net::TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut healthy = Vec::new();
    while !healthy.ends_with(b"ok\n") {
        kept.read_buf(&mut healthy).await.unwrap();
    }
    kept.write_all(format!("GET /v1/models?{long} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut second = String::new();
    kept.read_to_string(&mut second).await.unwrap();
    assert!(second.starts_with("HTTP/1.1 431 ") && second.contains("{\"error\":{\"message\":"), "{second}");
    // a picture whose bytes look like a refusal is a picture
    let initiate = server.request(Method::POST, "/rest/storage/upload/initiate").json(&json!({}));
    let urls = json_of(initiate).await;
    let text = "HTTP/1.1 400 Bad Request\r\n\r\n".repeat(10_000);
    let put = reqwest::Client::new().put(urls["upload_url"].as_str().unwrap()).body(text.clone());
    assert_eq!(put.send().await.unwrap().status(), 200);
    let read = reqwest::get(urls["file_url"].as_str().unwrap()).await.unwrap().text().await.unwrap();
    assert!(read == text, "a file comes back as it was");
}

#[tokio::test]
async fn whoever_sends_too_much_hears_of_it() {
    let mut setup = Setup::default();
    setup.server.upload_bytes = 1024 * 1024;
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    let upload = json_of(server.request(Method::POST, "/rest/storage/upload/initiate").json(&json!({}))).await;
    let put = upload["upload_url"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
    // more than the buffers between the two hold, so that all of it can be sent only if it is read
    let large = vec![b' '; 24 * 1024 * 1024];
    let calls =
        ["POST /run/scumble/starter", "POST /queue/scumble/starter", "POST /v1/images/generations", "POST /keys"];
    for line in calls.map(str::to_owned).into_iter().chain([format!("PUT {put}")]) {
        let mut known =
            format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", large.len());
        let mut chunked =
            format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
        chunked += &format!("{:x}\r\n", large.len());
        let known = [std::mem::take(&mut known).as_bytes(), &large].concat();
        let chunked = [chunked.as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
        for request in [known, chunked] {
            let answer = raw(&server, &request).await;
            // pages look at where a request comes from, which may be first
            let is_page = line.contains("/keys") && answer.starts_with("HTTP/1.1 403 ");
            assert!(is_page || answer.starts_with("HTTP/1.1 413 "), "{line}: {answer}");
        }
    }
    // who asks first hears at once, and need not send
    let asks = "POST /run/scumble/starter HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\n\
                content-length: 99999999\r\n\r\n";
    let answer = raw(&server, asks.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn looking_runs_nothing() {
    let runner = FakeRunner::free();
    let server = TestServer::new(&runner).await;
    let url = a_file(&server).await;
    let submitted = server.submit(&star("submitted")).await;
    server.ended(&submitted).await;
    let id = submitted["request_id"].as_str().unwrap();
    let heads = [
        ("/run/scumble/starter?prompt=a", 200),
        ("/run/scumble/starter/?prompt=a", 200),
        ("/run/scumble/starter/stream?prompt=a", 200),
        ("/run/scumble/starter/realtime?prompt=a", 404),
        ("/run/nobody/nothing?prompt=a", 404),
        ("/scumble/starter?prompt=a", 405),
        ("/queue/scumble/starter?prompt=a", 405),
        (&format!("/queue/scumble/starter/requests/{id}"), 200),
        (&format!("/queue/scumble/starter/requests/{id}/status"), 200),
        (&format!("/queue/scumble/starter/requests/{id}/status/stream"), 200),
        (&format!("/queue/scumble/starter/requests/{id}/cancel"), 405),
        ("/ws/scumble/starter", 400),
        ("/rest/tokens/", 405),
        ("/rest/storage/upload/initiate", 405),
        ("/rest/.well-known/jwks.json", 200),
        ("/v1/models", 200),
        ("/v1/images/generations", 405),
        ("/api/openapi/queue/openapi.json?endpoint_id=scumble/starter", 200),
        ("/llms.txt", 200),
        ("/health", 200),
        ("/ready", 200),
        ("/", 200),
        ("/models/scumble/starter?prompt=a", 200),
        ("/history", 200),
        (&format!("/history/{id}"), 200),
        (&format!("/history/{id}/events"), 200),
        (&format!("/history/{id}/again"), 405),
        ("/jobs", 200),
        ("/keys", 200),
        ("/thumbnail", 405),
        (url.strip_prefix(&server.url).unwrap(), 200),
    ];
    for (path, status) in heads {
        let head = server.request(Method::HEAD, path).send();
        let answer = tokio::time::timeout(Duration::from_secs(5), head).await.expect(path).unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.bytes().await.unwrap().is_empty(), "{path}");
    }
    for path in scumble_server::paths() {
        let filled = path.split('/').map(|part| match part {
            "{*id}" | "{*path}" => ENDPOINT,
            part if part.starts_with('{') => "x",
            part => part,
        });
        let filled = filled.collect::<Vec<_>>().join("/");
        let head = server.request(Method::HEAD, &format!("{filled}?prompt=a")).send();
        let answer = tokio::time::timeout(Duration::from_secs(5), head).await.expect(path).unwrap();
        assert!(answer.status().as_u16() < 500, "{path}");
    }
    for host in ["fal.run", "queue.fal.run"] {
        let head = server.request(Method::HEAD, "/scumble/starter?prompt=a").header("host", host);
        assert!([200, 405].contains(&head.send().await.unwrap().status().as_u16()), "{host}");
    }
    let proxied =
        server.request(Method::HEAD, "/api/fal/proxy").header("x-fal-target-url", "https://fal.run/scumble/starter");
    assert_eq!(proxied.send().await.unwrap().status(), 405);
    json_of(server.request(Method::POST, "/run/scumble/starter").json(&star("after"))).await;
    assert_eq!(runner.prompts(), ["a star", "submitted", "after"]);
    server.key().await;
    assert_eq!(server.request(Method::HEAD, "/run/scumble/starter").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let submitted = server.submit(&star("submitted")).await;
    let request = format!("/queue/{ENDPOINT}/requests/{}", submitted["request_id"].as_str().unwrap());
    for (method, path, allowed) in [
        (Method::PUT, "/queue/fal-ai/flux/schnell", "POST"),
        (Method::DELETE, "/queue/fal-ai/flux/schnell", "POST"),
        (Method::GET, "/queue/fal-ai/flux/schnell", "POST"),
        (Method::PATCH, &request, "GET, HEAD"),
        (Method::DELETE, &request, "GET, HEAD"),
        (Method::PUT, &format!("{request}/status"), "GET, HEAD"),
        (Method::POST, &format!("{request}/cancel"), "PUT"),
        (Method::GET, &format!("{request}/cancel"), "PUT"),
        (Method::PUT, "/run/fal-ai/flux/schnell", "GET, HEAD, POST"),
        (Method::DELETE, "/run/fal-ai/flux/schnell", "GET, HEAD, POST"),
        (Method::DELETE, "/fal-ai/flux/schnell", "POST"),
        (Method::GET, "/fal-ai/flux/schnell", "POST"),
        (Method::GET, "/rest/tokens/", "POST"),
        (Method::DELETE, "/cdn/files/b/x/y.png", "GET, HEAD, PUT, POST"),
        (Method::DELETE, "/", "GET, HEAD"),
        (Method::PUT, "/models/scumble/starter", "GET, HEAD, POST"),
        (Method::DELETE, "/history", "GET, HEAD"),
        (Method::POST, "/jobs", "GET, HEAD"),
        (Method::POST, "/health", "GET, HEAD"),
        (Method::PATCH, "/api/fal/proxy", "GET, POST, PUT, DELETE"),
    ] {
        let ask = || server.request(method.clone(), path);
        assert_eq!(header(&ask().send().await.unwrap(), "allow"), allowed, "{method} {path}");
        let told = format!("Method Not Allowed: this path takes {allowed}");
        assert_eq!(refusal(ask()).await, (405, told), "{method} {path}");
    }
    for (method, path, allowed) in
        [(Method::DELETE, "/v1/models", "GET, HEAD"), (Method::GET, "/v1/images/generations", "POST")]
    {
        let answer = server.request(method, path).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "allow").replace(',', ", ")), (405, allowed.to_owned()));
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["message"], format!("Method Not Allowed: this path takes {allowed}"), "{path}");
    }
    let elsewhere = server.request(Method::DELETE, "/nobody/nothing");
    assert_eq!(refusal(elsewhere).await.0, 404, "where nothing is, no method is right");
}

#[tokio::test]
async fn a_call_without_an_id_is_told_so() {
    let server = TestServer::new(&FakeRunner::free()).await;
    for path in ["/run", "/run/", "/queue", "/queue/", "/ws", "/ws/"] {
        for method in [Method::POST, Method::GET, Method::PUT] {
            let (status, detail) = refusal(server.request(method, path).json(&star("a"))).await;
            assert_eq!((status, detail.starts_with("The endpoint's id is missing")), (404, true), "{path}: {detail}");
        }
    }
    let by_host = server.request(Method::POST, "/").header("host", "fal.run").json(&star("a"));
    assert!(refusal(by_host).await.1.starts_with("The endpoint's id is missing"));
}

#[tokio::test]
async fn browsers_need_not_ask_before_every_call() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let preflight = server.request(Method::OPTIONS, "/run/scumble/starter").header("origin", "https://app.test");
    let answer = preflight.header("access-control-request-method", "POST").send().await.unwrap();
    assert_eq!(header(&answer, "access-control-max-age"), "86400");
    // and their scripts read what only we say
    let call = server.request(Method::GET, "/v1/models").header("origin", "https://app.test");
    let answer = call.send().await.unwrap();
    let exposed = header(&answer, "access-control-expose-headers").to_owned();
    for name in ["x-scumble-stand-in", "x-scumble-maker", "x-scumble-cost-usd", "x-request-id"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name}: {exposed}");
    }
}

#[tokio::test]
async fn packed_bodies_are_unpacked_and_their_limits_hold() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let post = |path: &str, coding: &str, body: Vec<u8>| {
        server.request(Method::POST, path).header("content-encoding", coding).body(body)
    };
    let packed = gzip(star("packed").to_string().as_bytes());
    for (path, coding) in
        [("/run/scumble/starter", "gzip"), ("/run/scumble/starter", "X-GZIP"), ("/scumble/starter", "identity, gzip")]
    {
        assert_eq!(json_of(post(path, coding, packed.clone())).await["prompt"], "packed", "{path} {coding}");
    }
    assert_eq!(json_of(post("/queue/scumble/starter", "gzip", packed.clone())).await["status"], "IN_QUEUE");
    let plain = post("/run/scumble/starter", "identity", star("plain").to_string().into_bytes());
    assert_eq!(json_of(plain).await["prompt"], "plain");
    // in parts
    let two = [gzip(b"{\"prompt\":"), gzip(b"\"two\",\"num_inference_steps\":1}")].concat();
    assert_eq!(json_of(post("/run/scumble/starter", "gzip", two)).await["prompt"], "two");

    let mut damaged = packed.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 0xff;
    for broken in [packed[..packed.len() - 9].to_vec(), damaged, b"{\"prompt\":\"a\"}".to_vec(), packed[..5].to_vec()] {
        for path in ["/run/scumble/starter", "/queue/scumble/starter"] {
            let (status, detail) = refusal(post(path, "gzip", broken.clone())).await;
            assert_eq!((status, detail.contains("cannot be unpacked")), (400, true), "{detail}");
        }
    }
    for coding in ["br", "deflate", "gzip, gzip", "zstd", "é"] {
        let request = post("/run/scumble/starter", coding, packed.clone());
        let answer = request.try_clone().unwrap().send().await.unwrap();
        assert_eq!(header(&answer, "accept-encoding"), "gzip, identity");
        assert_eq!(refusal(request).await.0, 415, "{coding}");
    }
    // the limit of this server is 64 KiB; a little that becomes much is refused before it is much
    let bomb = gzip(&vec![b' '; 512 * 1024 * 1024]);
    assert!(bomb.len() < 4 * 1024 * 1024);
    let before = peak_bytes();
    assert_eq!(refusal(post("/run/scumble/starter", "gzip", bomb)).await.0, 413);
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        // the other tests of this file are at work too
        assert!(after - before < 192 * 1024 * 1024, "{} bytes more", after - before);
    }
}

#[tokio::test]
async fn a_packed_upload_is_stored_unpacked() {
    let mut setup = Setup::default();
    setup.server.upload_bytes = 1000;
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    let upload = |body: Vec<u8>| {
        let request = server.request(Method::POST, "/cdn/files/upload").header("content-type", "text/plain");
        request.header("content-encoding", "gzip").body(body)
    };
    let stored = json_of(upload(gzip(b"some text"))).await;
    let url = stored["access_url"].as_str().unwrap();
    assert_eq!(reqwest::get(url).await.unwrap().text().await.unwrap(), "some text");
    assert_eq!(refusal(upload(gzip(&[b'x'; 1001]))).await.0, 413);
    assert_eq!(refusal(upload(b"no gzip".to_vec())).await.0, 400);
}

/// The most memory that was in RAM so far, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: u64| kib * 1024)
}
