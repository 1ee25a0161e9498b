//! What strangers send is not read: whoever may not call is told so after the head of the request.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::time::Duration;

use reqwest::Method;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: usize = 1024 * 1024;

/// A server that takes large bodies from those who may.
async fn server() -> TestServer {
    let config = scumble_server::Config { body_bytes: 50 * MIB, ..scumble_server::Config::default() };
    TestServer::with(Setup { server: config, ..Setup::default() }, &FakeRunner::free()).await
}

/// Every path that is routed, each name in it filled in, and paths that only the fallback knows.
fn paths() -> Vec<String> {
    let fill = |path: &str| {
        let filled = path.replace("{*id}", "scumble/starter").replace("{*path}", "scumble/starter");
        filled.replace("{id}", "764cabcf-b745-4b3e-ae38-1200304cf45b").replace("{version}", "1").replace("{name}", "x")
    };
    let mut paths: Vec<String> = scumble_server::paths().into_iter().map(fill).collect();
    assert!(paths.len() > 30 && paths.iter().all(|path| !path.contains('{')), "{paths:?}");
    let file = "b/00000000000000000000000000000000/x.png";
    paths.extend(["/scumble/starter", "/scumble/starter/stream", "/no/such/endpoint"].map(str::to_owned));
    paths.extend(["/run", "/queue"].map(|service| format!("{service}/scumble/starter/stream")));
    paths.extend(["sign", "multipart/x/1", "multipart/x/complete"].map(|end| format!("/cdn/files/{file}/{end}")));
    paths.extend(["1", "complete"].map(|end| format!("/cdn/put/{file}/{end}")));
    paths
}

/// The status of the answer to a head alone, of which nothing follows.
async fn status_of_head(server: &TestServer, head: &str) -> u16 {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let whole = async {
        let mut buffer = [0; 4096];
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "no answer to {head}");
            answer.extend(&buffer[..count]);
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), whole).await.is_ok(), "it waits for the body of {head}");
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

/// Announces 40 MiB everywhere, in both ways, with these header lines, and expects one of these answers at once.
async fn refused_everywhere(server: &TestServer, lines: &str, but: &[&str], expected: &[u16]) {
    let length = format!("content-length: {}", 40 * MIB);
    for path in paths().iter().filter(|path| !but.contains(&path.as_str())) {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            for framing in [length.as_str(), "transfer-encoding: chunked"] {
                let head = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n{framing}\r\n\r\n");
                let status = status_of_head(server, &head).await;
                assert!(expected.contains(&status), "{status} for {head}");
            }
        }
    }
}

fn host(server: &TestServer) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

#[tokio::test]
async fn nobody_without_a_key_is_read_from_on_any_route() {
    let server = server().await;
    let key = server.key().await;
    let host = format!("host: {}", host(&server));
    let refusals = [401, 403, 404, 405];
    refused_everywhere(&server, &host, &[], &refusals).await;
    for wrong in ["authorization: Key wrong:key", "authorization: Bearer x", "cookie: scumble_session=x"] {
        refused_everywhere(&server, &format!("{host}\r\n{wrong}"), &[], &refusals).await;
    }
    // by the pages' own scripts and forms: those who are not signed in are led to where they can
    let own = format!("{host}\r\norigin: {}", server.url);
    refused_everywhere(&server, &own, &["/sign-in", "/sign-out"], &[401, 403, 404, 405, 303]).await;
    for service in ["fal.run", "queue.fal.run", "rest.fal.ai", "v3.fal.media", "api.fal.ai"] {
        refused_everywhere(&server, &format!("host: {service}"), &[], &refusals).await;
    }
    for target in
        ["https://fal.run/scumble/starter", "https://queue.fal.run/scumble/starter", "https://rest.fal.ai/tokens/"]
    {
        let head = format!(
            "POST /api/fal/proxy HTTP/1.1\r\n{host}\r\nx-fal-target-url: {target}\r\ncontent-length: {}\r\n\r\n",
            40 * MIB
        );
        assert_eq!(status_of_head(&server, &head).await, 401, "{target}");
    }
    // who may is read from
    let call = server.request(Method::POST, "/run/scumble/starter").header("authorization", format!("Key {key}"));
    let large = json!({ "prompt": "x", "ignored": "y".repeat(3 * MIB) });
    assert_eq!(call.json(&large).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn no_page_and_no_name_of_others_is_read_from_without_keys() {
    let server = server().await;
    let host = format!("host: {}", host(&server));
    let probes = ["/health", "/ready"];
    refused_everywhere(&server, &format!("{host}\r\norigin: https://evil.test"), &probes, &[403]).await;
    refused_everywhere(&server, &format!("{host}\r\nsec-fetch-site: cross-site"), &probes, &[403]).await;
    refused_everywhere(&server, "host: evil.test", &probes, &[403]).await;
    refused_everywhere(&server, &format!("{host}\r\nx-forwarded-for: 203.0.113.7"), &probes, &[403]).await;
}

#[tokio::test]
async fn a_form_is_as_small_as_a_form() {
    let server = server().await;
    let key = server.key().await;
    let form = |body: String| {
        let post = server.request(Method::POST, "/sign-in").header("origin", &server.url);
        post.header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    assert_eq!(form(format!("key={}", "x".repeat(8 * 1024))).await.unwrap().status(), 413);
    assert_eq!(form(format!("key={}", "x".repeat(8 * 1024 - 4))).await.unwrap().status(), 401);
    // an endless one is not read to its end
    let mut stream = TcpStream::connect(host(&server)).await.unwrap();
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nhost: {}\r\norigin: {}\r\ncontent-length: {}\r\n\r\n",
        host(&server),
        server.url,
        40 * MIB
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 8 * 1024 + 1]).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    for path in ["/rest/tokens/", "/rest/storage/upload/initiate", "/rest/storage/auth/token"] {
        let post = server.request(Method::POST, path).header("authorization", format!("Key {key}"));
        assert_eq!(post.body(vec![b' '; 64 * 1024 + 1]).send().await.unwrap().status(), 413, "{path}");
    }
}
