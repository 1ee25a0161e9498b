//! A bucket that cannot be used is told in one line, with what was said and what helps.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};

use common::Desk;

/// A service that gives everybody this answer, in XML of several lines as buckets do.
fn answering(status: &'static str, code: &'static str, message: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            for line in stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let lower = line.to_ascii_lowercase();
                length = lower.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
            }
            std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n<Code>{code}</Code>\n<Message>{message}</Message>\n</Error>"
            );
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}", body.len());
            let _ = write!(stream.get_mut(), "{head}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    address
}

/// What a gateway says with files in this service's bucket; `doctor` says the same.
fn said(service: SocketAddr) -> String {
    let desk = Desk::new();
    let with = |command: &str| {
        let args =
            [command, "--role", "gateway", "--data-dir", "data", "--listen", "127.0.0.1:0", "--files", "s3://b/here"];
        let mut command = desk.command(&args);
        command.env("AWS_ENDPOINT_URL", format!("http://{service}"));
        command.env("AWS_ACCESS_KEY_ID", "me").env("AWS_SECRET_ACCESS_KEY", "s3cret");
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(4), "{out:?}");
        let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        let lines: Vec<_> =
            said.lines().filter(|line| line.contains("files cannot be kept in s3://b/here: ")).collect();
        assert!(lines.len() == 1 && !said.contains("s3cret") && !said.contains("<Code>"), "{said}");
        lines[0].to_owned()
    };
    let found = with("doctor");
    let line = with("serve");
    assert_eq!(words_of(&found), words_of(&line));
    line
}

/// What does not differ from one time to the next: after the address and how long it took.
fn words_of(line: &str) -> &str {
    line.rsplit_once(" - ").map_or(line, |(_, words)| words)
}

#[test]
fn a_bucket_that_is_not_there_is_to_be_made() {
    let line = said(answering("404 Not Found", "NoSuchBucket", "The bucket\ndoes not exist"));
    let words = "404 Not Found: NoSuchBucket: The bucket does not exist; make it, or choose another place with --files";
    assert!(line.ends_with(words) && !line.contains("Object at location"), "{line}");
}

#[test]
fn a_key_that_is_refused_is_to_be_looked_at() {
    let line = said(answering("403 Forbidden", "InvalidAccessKeyId", "No such key"));
    assert!(line.contains("the bucket refuses this program: "), "{line}");
    assert!(line.contains("403 Forbidden: InvalidAccessKeyId: No such key; check AWS_ACCESS_KEY_ID and"), "{line}");
    assert!(!line.contains("the mount"), "{line}");
}

#[test]
fn a_service_that_does_not_answer_is_told_with_why() {
    // nobody listens there
    let line = said(SocketAddr::from(([127, 0, 0, 1], 1)));
    assert!(line.contains("Connection refused") && line.contains("; check AWS_ENDPOINT_URL"), "{line}");
    assert!(!line.contains("--files"), "another place is no answer to that: {line}");
}
