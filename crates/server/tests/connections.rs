//! Room for connections: nobody takes it all, and whoever watches the server is answered.

#![cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{bytes, json_of};
use reqwest::Method;
use scumble_server::listen::ConnectionLimits;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HALF_A_HEAD: &[u8] = b"POST /run/scumble/starter HTTP/1.1\r\nhost: a\r\nx-a: ";
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
const CALL: &[u8] = b"POST /run/scumble/starter HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";

async fn server(limits: ConnectionLimits) -> TestServer {
    TestServer::with(Setup { limits, ..Setup::default() }, &FakeRunner::free()).await
}

/// A connection that comes from an address of this machine.
async fn connect(server: &TestServer, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let to = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    socket.connect(to).await.unwrap()
}

/// What comes back up to the end of an answer's body, or nothing where the connection is closed.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let reading = async {
        let mut more = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut more).await {
            answer.extend(&more[..count]);
            let text = String::from_utf8_lossy(&answer);
            if text.ends_with("ok\n") || text.ends_with('}') {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an answer or an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the server ends this connection within so long.
async fn ends_within(stream: &mut TcpStream, time: Duration) -> bool {
    let mut rest = Vec::new();
    // an end in order or a hard one
    tokio::time::timeout(time, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn half_heads_of_one_address_leave_room_for_others_and_for_health() {
    let limits = ConnectionLimits { per_address: 20, spare: Duration::from_millis(200), ..ConnectionLimits::of(40) };
    let server = server(limits).await;
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut stream = connect(&server, "127.0.0.2").await;
        // the server closes those that are too many
        let _ = stream.write_all(HALF_A_HEAD).await;
        held.push(stream);
    }
    let began = Instant::now();
    assert!(ask(&mut connect(&server, "127.0.0.1").await, HEALTH).await.starts_with("HTTP/1.1 200 OK"));
    assert!(began.elapsed() < Duration::from_secs(1), "another address waited for {:?}", began.elapsed());
    // who watches from the same address is heard as soon as the spare places are free again
    let watched = async {
        while !ask(&mut connect(&server, "127.0.0.2").await, HEALTH).await.ends_with("ok\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), watched).await.expect("health is answered");
    let mut crowded = connect(&server, "127.0.0.2").await;
    let refused = ask(&mut crowded, CALL).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 1"), "{refused}");
    assert!(
        refused.contains("{\"detail\":\"All connections of your address") && refused.contains("x-fal-request-id: ")
    );
    assert!(ends_within(&mut crowded, Duration::from_secs(5)).await, "a spare place is not kept");
    drop(held);
    let served = async {
        while !ask(&mut connect(&server, "127.0.0.2").await, CALL).await.starts_with("HTTP/1.1 422 ") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served).await.expect("room again");
}

#[tokio::test]
async fn a_full_server_says_so_and_stays_in_health() {
    let server = server(ConnectionLimits::of(4)).await;
    let mut open = Vec::new();
    for n in 1..=4 {
        let mut stream = connect(&server, &format!("127.0.1.{n}")).await;
        assert!(ask(&mut stream, HEALTH).await.ends_with("ok\n"));
        open.push(stream);
    }
    for path in ["health", "ready"] {
        let request = format!("GET /{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let mut stream = connect(&server, "127.0.1.9").await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    let refused = ask(&mut connect(&server, "127.0.1.9").await, CALL).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("{\"detail\":\"All connections of this server are taken"), "{refused}");
    // those who are in go on
    assert!(ask(&mut open[0], CALL).await.starts_with("HTTP/1.1 422 "));
    drop(open);
    let served = async {
        while !ask(&mut connect(&server, "127.0.1.9").await, CALL).await.starts_with("HTTP/1.1 422 ") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served).await.expect("room again");
}

#[tokio::test]
async fn a_websocket_keeps_its_place() {
    let server = server(ConnectionLimits::of(2)).await;
    let mut sockets = Vec::new();
    for n in 1..=2 {
        let mut stream = connect(&server, &format!("127.0.3.{n}")).await;
        let opening =
            b"GET /run/scumble/starter/realtime HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(opening).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        sockets.push(stream);
    }
    assert!(ask(&mut connect(&server, "127.0.3.3").await, CALL).await.starts_with("HTTP/1.1 503 "));
    drop(sockets);
    let served = async {
        while !ask(&mut connect(&server, "127.0.3.3").await, CALL).await.starts_with("HTTP/1.1 422 ") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served).await.expect("room again");
}

#[tokio::test]
async fn a_head_has_little_time_and_a_connection_between_two_requests_much() {
    let limits = ConnectionLimits {
        head: Duration::from_millis(100),
        idle: Duration::from_secs(60),
        ..ConnectionLimits::default()
    };
    let server = server(limits).await;
    let soon = Duration::from_secs(10);
    let mut silent = connect(&server, "127.0.0.1").await;
    assert!(ends_within(&mut silent, soon).await, "nothing was said");
    let mut first = connect(&server, "127.0.0.1").await;
    first.write_all(HALF_A_HEAD).await.unwrap();
    assert!(ends_within(&mut first, soon).await, "half a first head");
    let mut kept = connect(&server, "127.0.0.1").await;
    assert!(ask(&mut kept, HEALTH).await.ends_with("ok\n"));
    assert!(!ends_within(&mut kept, Duration::from_millis(500)).await, "kept for the next request");
    assert!(ask(&mut kept, HEALTH).await.ends_with("ok\n"));
    kept.write_all(HALF_A_HEAD).await.unwrap();
    assert!(ends_within(&mut kept, soon).await, "half a second head");
    // drop by drop is no better
    let mut dripping = connect(&server, "127.0.0.1").await;
    let drips = async {
        loop {
            if dripping.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(soon, drips).await.expect("an end");
}

#[tokio::test]
async fn a_caller_who_takes_nothing_of_an_answer_is_let_go() {
    let limits = ConnectionLimits { send_pause: Duration::from_millis(200), ..ConnectionLimits::default() };
    let server = server(limits).await;
    let initiate = server.request(Method::POST, "/rest/storage/upload/initiate");
    let urls = json_of(initiate.json(&json!({ "file_name": "a.bin" }))).await;
    // more than the buffers between the two hold
    let size = 32 * 1024 * 1024;
    let put = reqwest::Client::new().put(urls["upload_url"].as_str().unwrap()).body(bytes(size));
    assert_eq!(put.send().await.unwrap().status(), 200);
    let path = urls["file_url"].as_str().unwrap().strip_prefix(&server.url).unwrap();
    let mut stream = connect(&server, "127.0.0.1").await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection has ended");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK") && answer.len() < size, "{} bytes", answer.len());
}

#[tokio::test]
async fn a_thousand_connections_of_one_address_are_served() {
    let server = server(ConnectionLimits::default()).await;
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(connect(&server, "127.0.0.1").await);
    }
    for stream in &mut open {
        assert!(ask(stream, HEALTH).await.starts_with("HTTP/1.1 200 OK"));
    }
}
