//! Uploads that go wrong: forms, lists of parts, parts, and the tickets that allow them.

use std::fmt;

use reqwest::Method;
use scumble_testkit::server::TestServer;
use serde_json::{Value, json};

use crate::random::Random;
use crate::{Answer, WAIT, exchange};

/// What callers were given before they went wrong, as paths of the server.
pub(crate) struct Tickets {
    /// `put/…?token=…` for a file.
    whole: String,
    /// The same for a file in parts.
    parts: String,
    /// `…/multipart/{id}`, where Python sends its parts.
    python: String,
    /// What Python shows for it.
    token: String,
    /// The etags of parts 1 and 2 of `parts`.
    etags: [String; 2],
}

impl Tickets {
    pub(crate) async fn get(server: &TestServer) -> Self {
        let path = |url: &Value| url.as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
        let ask = async |method: Method, path: &str, body: &Value| -> Value {
            let answer = server.request(method, path).json(body).send().await.unwrap();
            answer.json().await.unwrap()
        };
        let file = json!({ "file_name": "a.png", "content_type": "image/png" });
        let whole = ask(Method::POST, "/rest/storage/upload/initiate", &file).await;
        let parts = ask(Method::POST, "/rest/storage/upload/initiate-multipart", &file).await;
        let parts = path(&parts["upload_url"]);
        let token = ask(Method::POST, "/rest/storage/auth/token", &json!({})).await;
        let python = ask(Method::POST, "/cdn/files/upload/multipart", &json!({})).await;
        let mut etags = [String::new(), String::new()];
        for (number, etag) in (1..).zip(&mut etags) {
            let part = ask(Method::PUT, &below(&parts, &number.to_string()), &json!("a part")).await;
            *etag = part["etag"].as_str().unwrap().to_owned();
        }
        Self {
            whole: path(&whole["upload_url"]),
            parts,
            python: format!("{}/multipart/{}", path(&python["access_url"]), python["uploadId"].as_str().unwrap()),
            token: token["token"].as_str().unwrap().to_owned(),
            etags,
        }
    }
}

/// A path with one more piece before its query.
fn below(path: &str, piece: &str) -> String {
    path.replace('?', &format!("/{piece}?"))
}

/// One request around an upload.
pub(crate) struct Upload {
    bytes: Vec<u8>,
    /// Whether the server may believe that nothing more comes.
    looks_whole: bool,
}

impl fmt::Display for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes[..self.bytes.len().min(2000)].escape_ascii())
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "10000",
    "10001",
    "-1",
    "+1",
    "1e3",
    "01",
    "4294967296",
    "%31",
    "\u{ff11}",
    "",
    "../1",
    "1/1",
    "complete",
];
const NAMES: &[&str] =
    &["../../etc/passwd", "a%2fb%00.png", "C:\\x", ".", "%", "%ff%fe", "x\u{e9}", "", "con.txt\u{b}"];
const TYPES: &[&str] = &[
    "image/png",
    "image/png\r\nX-Evil: 1",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=\"x",
    "multipart/form-data",
    "text/html; charset=\u{e9}",
    "/",
    "a/b/c",
    "",
];
const LIVES: &[&str] = &[
    "{\"expiration_duration_seconds\":1e308}",
    "{\"expiration_duration_seconds\":-0}",
    "{\"initial_acl\":{\"default\":\"forbid\",\"rules\":[[\"x\",\"hide\"]]}}",
    "{\"initial_acl\":{\"rules\":[{\"user\":\"\\u0000\",\"decision\":\"hide\"}]}}",
    "{\"expiration_duration_seconds\":60}",
    "{",
    "",
];
const BODIES: &[&str] = &[
    "{}",
    "[]",
    "null",
    "{\"file_name\":1}",
    "{\"file_name\":\"\\u0000/../x\",\"content_type\":\"image/png\"}",
    "{\"file_name\":null,\"content_type\":\"\\r\\nx: y\"}",
    "{\"content_type\":\"image/png\\u0000\"}",
    "{\"expiration_seconds\":-1}",
    "{\"expiration_seconds\":18446744073709551615}",
    "{\"expiration_seconds\":1.5}",
    "{\"duration\":1e99,\"scope\":[\"write\"]}",
    "{\"parts\":",
    "\u{fe}\u{ff}",
    "",
];

impl Upload {
    pub(crate) fn make(random: &mut Random, tickets: &Tickets) -> Self {
        let (method, path, body) = call(random, tickets);
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if path.contains("/multipart") && !random.one_in(4) {
            head += &format!("Authorization: Bearer {}\r\n", damaged(random, &tickets.token));
        }
        if random.one_in(2) {
            head += &format!("Content-Type: {}\r\n", random.pick(TYPES));
        }
        if random.one_in(3) {
            head += &format!("X-Fal-File-Name: {}\r\n", random.pick(NAMES));
        }
        if random.one_in(3) {
            head += &format!("X-Fal-Object-Lifecycle: {}\r\n", random.pick(LIVES));
        }
        let mut looks_whole = true;
        let mut bytes = head.into_bytes();
        match random.below(8) {
            // more than the server takes, and none of it comes
            0 => bytes.extend(b"Content-Length: 99999999999999\r\nExpect: 100-continue\r\n\r\n"),
            1 => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len() + 1 + random.below(100)).bytes());
                bytes.extend(body);
                looks_whole = false;
            }
            2 => {
                bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).bytes());
                bytes.extend(body);
                bytes
                    .extend(random.pick(&["\r\n0\r\n\r\n", "\r\n", "0\r\n\r\n", "\r\nffffffffffffffffff\r\n"]).bytes());
                looks_whole = false;
            }
            _ => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(body);
            }
        }
        Self { bytes, looks_whole }
    }

    /// What is wrong with what comes of it.
    pub(crate) async fn run(&self, address: &str) -> Result<(), String> {
        let wait = if self.looks_whole { crate::PATIENCE } else { WAIT / 10 };
        Answer::read(&exchange(address, &self.bytes, wait).await).map(drop)
    }
}

fn call(random: &mut Random, tickets: &Tickets) -> (&'static str, String, Vec<u8>) {
    let number = random.pick(NUMBERS);
    match random.below(8) {
        0 => {
            let kinds = ["upload/initiate", "upload/initiate-multipart", "auth/token"];
            let query = random.pick(&["", "?storage_type=gcs", "?storage_type=x", "?storage_type=%ff", "?%00"]);
            let path = format!("/rest/storage/{}{query}", kinds[random.below(3)]);
            ("POST", path, random.pick(BODIES).as_bytes().to_vec())
        }
        1 => ("PUT", damaged(random, &tickets.whole), random.bytes(200)),
        2 => {
            let path = below(&tickets.parts, number);
            ("PUT", damaged(random, &path), random.bytes(200))
        }
        3 => ("POST", below(&tickets.parts, "complete"), list(random, tickets)),
        4 => ("PUT", format!("{}/{number}", damaged(random, &tickets.python)), random.bytes(200)),
        5 => ("POST", format!("{}/complete", damaged(random, &tickets.python)), list(random, tickets)),
        6 => ("POST", random.pick(&["/cdn/files/upload", "/cdn/files/upload/multipart"]).to_owned(), form(random)),
        _ => {
            let path = tickets.whole.split('?').next().unwrap_or_default().replace("/put/", "/files/");
            ("POST", format!("{}/sign", damaged(random, &path)), random.pick(BODIES).as_bytes().to_vec())
        }
    }
}

/// The same, or what is left of it after an accident. It stays one word.
fn damaged(random: &mut Random, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    match random.below(4) {
        0 => bytes.truncate(1 + random.below(bytes.len())),
        1 => {
            let at = 1 + random.below(bytes.len() - 1);
            bytes[at] = b'!' + (random.next() % 94) as u8;
        }
        _ => {}
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// A list of parts.
fn list(random: &mut Random, tickets: &Tickets) -> Vec<u8> {
    let [one, two] = &tickets.etags;
    let part = |number: Value, etag: Value| json!({ "partNumber": number, "etag": etag });
    let parts = match random.below(10) {
        0 => json!([]),
        1 => json!([part(1.into(), one.as_str().into()), part(1.into(), one.as_str().into())]),
        2 => json!([part(1.into(), two.as_str().into())]),
        3 => json!([part(2.into(), format!("\"{two}\"").into()), part(0.into(), "".into())]),
        4 => json!([part((-1).into(), one.as_str().into())]),
        5 => json!([part(4_294_967_296_u64.into(), Value::Null)]),
        6 => json!([["1", one]]),
        7 => json!({ "1": one }),
        8 => json!(vec![part(1.into(), "x".into()); random.below(3000)]),
        _ => (0..200).fold(json!(1), |inner, _| json!([inner])),
    };
    let mut bytes = json!({ "parts": parts }).to_string().into_bytes();
    if random.one_in(5) {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

/// A form as browsers send it, more or less. Nothing here reads forms: it is bytes, and nothing else.
fn form(random: &mut Random) -> Vec<u8> {
    let mut form = Vec::new();
    for _ in 0..random.below(4) {
        form.extend(random.pick(&["--x\r\n", "--x", "\r\n--x--\r\n", "--y\r\n"]).bytes());
        let name = random.pick(NAMES);
        form.extend(format!("Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n").bytes());
        if random.one_in(2) {
            form.extend(format!("Content-Type: {}\r\n\r\n", random.pick(TYPES)).bytes());
        }
        form.extend(random.bytes(300));
    }
    if random.one_in(2) {
        form.extend(b"\r\n--x--\r\n");
    }
    form
}
