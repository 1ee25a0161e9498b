//! What tests with files share.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "shared by several test binaries")]

use std::path::Path;
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// So many bytes, each of which tells where it is.
pub fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i % 251) as u8 ^ (i / 65_536) as u8).collect()
}

/// The answer to a request that must be accepted.
pub async fn json_of(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

pub async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// The bytes behind a URL that anybody may read.
pub async fn body_of(url: &str) -> Vec<u8> {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    answer.bytes().await.unwrap().to_vec()
}

/// How many things are in a folder, which need not be there.
pub fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Waits until something holds, at most half a minute.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), held).await.is_ok(), "{what}");
}

/// A request whose body is sent by hand.
pub struct Raw(TcpStream);

impl Raw {
    /// The head of a PUT, with more header lines.
    pub async fn put(url: &str, headers: &str) -> Self {
        Self::begin("PUT", url, headers).await
    }

    /// The head of a POST, with more header lines.
    pub async fn post(url: &str, headers: &str) -> Self {
        Self::begin("POST", url, headers).await
    }

    async fn begin(method: &str, url: &str, headers: &str) -> Self {
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let head = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Bytes of the body. The server may have hung up already.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Sends a byte now and then, until the server has answered with JSON.
    pub async fn drip(self, every: Duration) -> String {
        let (mut from, mut to) = self.0.into_split();
        let mut drops = tokio::time::interval(every);
        let dripping = async {
            while to.write_all(b" ").await.is_ok() {
                drops.tick().await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let reading =
            async { while !answer.ends_with(b"}") && from.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
        tokio::select! {
            () = reading => {}
            () = dripping => {}
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The whole answer.
    pub async fn answer(mut self) -> String {
        let mut answer = Vec::new();
        // a server that hangs up on unread bytes resets the connection after its answer
        let _ = self.0.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}
