//! Uploads, as fal's clients and hostile ones send them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Raw, body_of, bytes, json_of, status};
use reqwest::Method;
use scumble_server::Config;
use scumble_store::{Clock, ManualClock, SystemClock};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Folder, Setup, TestServer};
use serde_json::{Value, json};

const INITIATE: &str = "/rest/storage/upload/initiate?storage_type=fal-cdn-v3";
const INITIATE_PARTS: &str = "/rest/storage/upload/initiate-multipart?storage_type=fal-cdn-v3";
const TOKEN: &str = "/rest/storage/auth/token?storage_type=fal-cdn-v3";

async fn server() -> TestServer {
    TestServer::new(&FakeRunner::free()).await
}

async fn with_config(config: Config) -> TestServer {
    TestServer::with(Setup { server: config, ..Setup::default() }, &FakeRunner::free()).await
}

async fn with_clock() -> (TestServer, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let setup = Setup { clock: clock.clone(), ..Setup::default() };
    (TestServer::with(setup, &FakeRunner::free()).await, clock)
}

/// `upload_url` and `file_url`.
async fn initiate(server: &TestServer, path: &str, body: &Value) -> (String, String) {
    let answer = json_of(server.request(Method::POST, path).json(body)).await;
    (answer["upload_url"].as_str().unwrap().to_owned(), answer["file_url"].as_str().unwrap().to_owned())
}

async fn put(url: &str, body: Vec<u8>) -> reqwest::Response {
    reqwest::Client::new().put(url).body(body).send().await.unwrap()
}

/// Sends a part in JavaScript's way; what it answers.
async fn put_part(upload_url: &str, number: u32, body: Vec<u8>) -> Value {
    let answer = put(&below(upload_url, &number.to_string()), body).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    answer.json().await.unwrap()
}

async fn complete(upload_url: &str, parts: &Value) -> reqwest::Response {
    let list = json!({ "parts": parts });
    reqwest::Client::new().post(below(upload_url, "complete")).json(&list).send().await.unwrap()
}

/// A URL with one more piece of path before its query.
fn below(url: &str, piece: &str) -> String {
    url.replace("?token=", &format!("/{piece}?token="))
}

#[tokio::test]
async fn a_file_is_put_without_a_key_and_can_be_read_at_once() {
    let server = server().await;
    let key = server.key().await;
    let ask =
        || server.request(Method::POST, INITIATE).json(&json!({ "content_type": "image/png", "file_name": "a b.png" }));
    assert_eq!(status(ask()).await, 401);
    let answer = json_of(ask().header("authorization", format!("Key {key}"))).await;
    let (upload_url, file_url) = (answer["upload_url"].as_str().unwrap(), answer["file_url"].as_str().unwrap());
    assert!(upload_url.starts_with(&format!("{}/cdn/put/b/", server.url)), "{upload_url}");
    assert!(file_url.starts_with(&format!("{}/cdn/files/b/", server.url)), "{file_url}");
    assert!(file_url.ends_with("/a_b.png"), "{file_url}");
    assert_eq!(reqwest::get(file_url).await.unwrap().status(), 404, "not there before its bytes");

    let sent = reqwest::Client::new().put(upload_url).header("content-type", "application/x-anything");
    let sent = sent.body(bytes(300_000)).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    assert_eq!(sent.json::<Value>().await.unwrap(), json!({ "access_url": file_url }));
    let file = reqwest::get(file_url).await.unwrap();
    assert_eq!((file.status().as_u16(), &file.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
    assert_eq!(file.bytes().await.unwrap(), bytes(300_000));
    let path = file_url.split_once("/files/").unwrap().1;
    let row = server.store.file(path).await.unwrap().unwrap();
    assert_eq!((row.owner.as_deref(), row.bytes, row.expires_ms), (key.split(':').next(), 300_000, None));
}

#[tokio::test]
async fn the_first_bytes_of_an_upload_url_stay() {
    let server = server().await;
    for (first, second) in [(10, 20), (3_000_000, 2_000_000), (0, 5)] {
        let (upload_url, file_url) = initiate(&server, INITIATE, &json!({ "file_name": "x.bin" })).await;
        assert_eq!(put(&upload_url, bytes(first)).await.status(), 200);
        assert_eq!(put(&upload_url, bytes(second)).await.status(), 200, "repeating is fine");
        assert_eq!(body_of(&file_url).await, bytes(first));
    }
    // twice at once: one of them, whole
    let (upload_url, file_url) = initiate(&server, INITIATE, &json!({ "file_name": "x.bin" })).await;
    let (one, other) = tokio::join!(put(&upload_url, vec![1; 2_500_000]), put(&upload_url, vec![2; 2_400_000]));
    assert_eq!((one.status(), other.status()), (reqwest::StatusCode::OK, reqwest::StatusCode::OK));
    let file = body_of(&file_url).await;
    assert!(file == vec![1; 2_500_000] || file == vec![2; 2_400_000], "{} bytes", file.len());
    let row = server.store.file(file_url.split_once("/files/").unwrap().1).await.unwrap().unwrap();
    assert_eq!(row.bytes, i64::try_from(file.len()).unwrap());
}

#[tokio::test]
async fn whatever_a_file_is_called_its_path_stays_inside() {
    let server = server().await;
    let long = "ä".repeat(300);
    for (name, kept) in [
        ("cat.png", "cat.png"),
        ("../../../etc/passwd", "passwd.png"),
        ("/etc/passwd", "passwd.png"),
        ("C:\\boot.ini", "boot.png"),
        ("a\u{0}\r\nb\u{202e}.png", "a___b_.png"),
        ("%2e%2e%2fup.png", "2e_2e_2fup.png"),
        ("?token=x&identity=y#z", "token_x_identity_y_z.png"),
        ("🖼️", "file.png"),
        ("..", "file.png"),
        ("", "upload.png"),
        (&long, "file.png"),
        (&format!("{}.png", "x".repeat(300)), &format!("{}.png", "x".repeat(96))),
    ] {
        let body = json!({ "content_type": "image/png", "file_name": name });
        let (upload_url, file_url) = initiate(&server, INITIATE, &body).await;
        let path = file_url.strip_prefix(&format!("{}/cdn/files/", server.url)).unwrap();
        assert_eq!(path.split('/').collect::<Vec<_>>()[2..], [kept], "{name:?}");
        assert_eq!(put(&upload_url, b"bytes".to_vec()).await.status(), 200, "{name:?}");
        assert_eq!(body_of(&file_url).await, b"bytes", "{name:?}");
    }
    let wrong = [json!({ "content_type": "image/png\r\nx: y" }), json!({ "file_name": 7 }), json!([]), json!("x")];
    for body in wrong {
        assert_eq!(status(server.request(Method::POST, INITIATE).json(&body)).await, 422, "{body}");
    }
    assert_eq!(status(server.request(Method::POST, INITIATE).body("{")).await, 422);
    let elsewhere = server.request(Method::POST, "/rest/storage/upload/initiate?storage_type=tape").json(&json!({}));
    assert_eq!(status(elsewhere).await, 422);
}

#[tokio::test]
async fn an_upload_url_opens_one_file_for_a_while() {
    let (server, clock) = with_clock().await;
    let (url, file_url) = initiate(&server, INITIATE, &json!({ "file_name": "a.png" })).await;
    let (other, _) = initiate(&server, INITIATE, &json!({ "file_name": "b.png" })).await;
    let (parts, parts_file) = initiate(&server, INITIATE_PARTS, &json!({ "file_name": "c.png" })).await;
    let (path, token) = url.split_once("?token=").unwrap();
    let (other_path, other_token) = other.split_once("?token=").unwrap();
    let (payload, signature) = token.split_once('.').unwrap();
    let (other_payload, _) = other_token.split_once('.').unwrap();
    for forged in [
        path.to_owned(),
        format!("{path}?token="),
        format!("{path}?token=x.y"),
        format!("{path}?token={payload}"),
        format!("{path}?token={other_payload}.{signature}"),
        format!("{path}?token={other_token}"),
        format!("{other_path}?token={token}"),
        format!("{path}/../../x.png?token={token}"),
        below(&url, "1"),
        parts.clone(),
    ] {
        let refused = put(&forged, b"x".to_vec()).await;
        assert_eq!(refused.status(), 403, "{forged}");
        assert!(refused.json::<Value>().await.unwrap()["detail"].is_string());
    }
    assert_eq!(complete(&url, &json!([])).await.status(), 403);
    clock.advance(20 * 60 * 60 * 1000);
    let late = put(&url, b"x".to_vec()).await;
    assert_eq!(late.status(), 403);
    assert!(late.text().await.unwrap().contains("expired"));
    assert_eq!(put(&below(&parts, "1"), b"x".to_vec()).await.status(), 403);
    for file_url in [file_url, parts_file] {
        assert_eq!(reqwest::get(file_url).await.unwrap().status(), 404);
    }
}

#[tokio::test]
async fn browsers_may_upload_from_anywhere() {
    let server = server().await;
    let (upload_url, file_url) = initiate(&server, INITIATE, &json!({})).await;
    // without keys the origins count, see keyless.rs
    server.key().await;
    let preflight = reqwest::Client::new()
        .request(Method::OPTIONS, &upload_url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    let sent = reqwest::Client::new().put(&upload_url).header("origin", "https://app.example").body("x");
    let sent = sent.send().await.unwrap();
    assert_eq!((sent.status().as_u16(), &sent.headers()["access-control-allow-origin"]), (200, &"*".parse().unwrap()));
    let read = reqwest::Client::new().get(&file_url).header("origin", "https://app.example").send().await.unwrap();
    assert_eq!((read.status().as_u16(), &read.headers()["access-control-allow-origin"]), (200, &"*".parse().unwrap()));
}

#[tokio::test]
async fn parts_become_a_file_and_completing_twice_is_fine() {
    let server = server().await;
    let body = json!({ "content_type": "video/mp4", "file_name": "film.mp4" });
    let (upload_url, file_url) = initiate(&server, INITIATE_PARTS, &body).await;
    let whole = bytes(5_000_000);
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(whole.chunks(2_000_000)) {
        let part = put_part(&upload_url, number, piece.to_vec()).await;
        assert_eq!(part["partNumber"], number);
        parts.push(part);
    }
    // sent again, because its answer was lost: the one in the list counts
    put_part(&upload_url, 2, b"another".to_vec()).await;
    assert_eq!(reqwest::get(&file_url).await.unwrap().status(), 404);
    parts.reverse();
    for _ in 0..2 {
        let completed = complete(&upload_url, &json!(parts)).await;
        assert_eq!(completed.status(), 200);
        assert_eq!(completed.json::<Value>().await.unwrap()["access_url"], file_url);
    }
    let file = reqwest::get(&file_url).await.unwrap();
    assert_eq!(file.headers()["content-type"], "video/mp4");
    assert_eq!(file.bytes().await.unwrap(), whole);
    let folder = server.stopped().await;
    assert_eq!(common::entries(&folder.path().join("files/parts")), 0, "the parts are gone");
}

#[tokio::test]
async fn a_list_that_does_not_fit_completes_nothing() {
    let server = server().await;
    let (upload_url, file_url) = initiate(&server, INITIATE_PARTS, &json!({ "file_name": "x.bin" })).await;
    let one = put_part(&upload_url, 1, b"one".to_vec()).await;
    let again = put_part(&upload_url, 1, b"ONE".to_vec()).await;
    let three = put_part(&upload_url, 3, b"three".to_vec()).await;
    for (list, expected) in [
        (json!([]), 400),
        (json!([one, { "partNumber": 2, "etag": one["etag"] }]), 400),
        (json!([{ "partNumber": 1, "etag": "wrong" }]), 400),
        (json!([{ "partNumber": 1, "etag": three["etag"] }]), 400),
        (json!([one, one]), 400),
        (json!([one, again]), 400),
        (json!([{ "partNumber": -1, "etag": "x" }]), 422),
        (json!([{ "partNumber": 1 }]), 422),
        (json!("parts"), 422),
    ] {
        let refused = complete(&upload_url, &list).await;
        assert_eq!(refused.status(), expected, "{list}");
        assert_eq!(refused.headers()["content-type"], "application/json");
    }
    for number in ["0", "10001", "-1", "x", "1.5", "99999999999999"] {
        assert_eq!(put(&below(&upload_url, number), b"x".to_vec()).await.status(), 422, "{number}");
    }
    assert_eq!(reqwest::get(&file_url).await.unwrap().status(), 404);
    let last = put_part(&upload_url, 10_000, b"last".to_vec()).await;
    assert_eq!(complete(&upload_url, &json!([last, again, three])).await.status(), 200);
    assert_eq!(body_of(&file_url).await, b"ONEthreelast");
}

#[tokio::test]
async fn parts_survive_a_restart() {
    let server = server().await;
    let (upload_url, file_url) = initiate(&server, INITIATE_PARTS, &json!({ "file_name": "x.bin" })).await;
    let one = put_part(&upload_url, 1, bytes(2_000_000)).await;
    let old = server.url.clone();
    let server = TestServer::on(server.killed(), &FakeRunner::free()).await;
    let (upload_url, file_url) = (upload_url.replace(&old, &server.url), file_url.replace(&old, &server.url));
    let two = put_part(&upload_url, 2, b"two".to_vec()).await;
    assert_eq!(complete(&upload_url, &json!([one, two])).await.status(), 200);
    assert_eq!(body_of(&file_url).await, [bytes(2_000_000), b"two".to_vec()].concat());
}

#[tokio::test]
async fn pythons_other_repository_initiates_and_puts_with_its_key() {
    let server = server().await;
    let key = format!("Key {}", server.key().await);
    let ask =
        server.request(Method::POST, "/rest/storage/upload/initiate?storage_type=gcs").header("authorization", &key);
    let answer = json_of(ask.json(&json!({ "file_name": "upload.bin", "content_type": "text/plain" }))).await;
    let put = reqwest::Client::new().put(answer["upload_url"].as_str().unwrap()).header("authorization", &key);
    assert_eq!(put.body("bytes").send().await.unwrap().status(), 200);
    let file_url = answer["file_url"].as_str().unwrap();
    assert!(file_url.ends_with("/upload.txt"), "{file_url}");
    assert_eq!(body_of(file_url).await, b"bytes");
    let unnamed = server.request(Method::POST, "/rest/storage/upload/initiate?storage_type=gcs");
    let unnamed = json_of(unnamed.header("authorization", &key)).await;
    assert!(unnamed["file_url"].as_str().unwrap().ends_with("/upload.bin"));
}

async fn token(server: &TestServer, key: &str) -> String {
    let ask = server.request(Method::POST, TOKEN).header("authorization", format!("Key {key}")).json(&json!({}));
    json_of(ask).await["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_uploads_until_it_expires_or_its_key_is_revoked() {
    let (server, clock) = with_clock().await;
    let key = server.key().await;
    let ask =
        |body: Value| server.request(Method::POST, TOKEN).header("authorization", format!("Key {key}")).json(&body);
    let answer = json_of(ask(json!({}))).await;
    assert_eq!((&answer["token_type"], &answer["base_url"]), (&"Bearer".into(), &format!("{}/cdn", server.url).into()));
    let expires_at = answer["expires_at"].as_str().unwrap();
    assert!(expires_at.len() == 25 && expires_at.ends_with("+00:00"), "{expires_at}");
    assert_eq!(status(server.request(Method::POST, TOKEN).json(&json!({}))).await, 401);
    for seconds in [json!(0), json!(-1), json!(2_592_001), json!("soon")] {
        assert_eq!(status(ask(json!({ "expiration_seconds": seconds }))).await, 422, "{seconds}");
    }

    let upload = |token: &str| {
        let upload =
            server.request(Method::POST, "/cdn/files/upload").header("authorization", format!("Bearer {token}"));
        upload.header("content-type", "image/png").header("x-fal-file-name", "cat.png").body("meow")
    };
    let token = answer["token"].as_str().unwrap();
    let access_url = json_of(upload(token)).await["access_url"].as_str().unwrap().to_owned();
    assert!(access_url.ends_with("/cat.png"));
    assert_eq!(body_of(&access_url).await, b"meow");
    assert_eq!(status(upload(&key)).await, 200, "a key does as well");
    let (payload, _) = token.split_once('.').unwrap();
    for forged in [String::new(), "x".into(), payload.into(), format!("{payload}.AAAA"), format!("{token}A")] {
        assert_eq!(status(upload(&forged)).await, 401, "{forged}");
    }
    let anonymous = server.request(Method::POST, "/cdn/files/upload").body("x");
    assert_eq!(status(anonymous).await, 401);
    // an upload URL's token is not a CDN token
    let initiated = server.request(Method::POST, INITIATE).header("authorization", format!("Key {key}"));
    let url = json_of(initiated).await["upload_url"].as_str().unwrap().to_owned();
    assert_eq!(status(upload(url.split_once("token=").unwrap().1)).await, 401);

    let long = json_of(ask(json!({ "expiration_seconds": 2_592_000 }))).await["token"].as_str().unwrap().to_owned();
    clock.advance(60 * 60 * 1000 + 1000);
    assert_eq!((status(upload(token)).await, status(upload(&long)).await), (401, 200));
    assert!(server.store.revoke_key(key.split(':').next().unwrap()).await.unwrap());
    assert_eq!(status(upload(&long)).await, 401, "the token of a revoked key");
}

#[tokio::test]
async fn names_in_headers_may_have_any_form() {
    let server = server().await;
    for (name, kept) in [
        (&b"a%20b.png"[..], "a_b.png"),
        ("gro\u{df}e katze.png".as_bytes(), "gro_e_katze.png"),
        (b"\xff\xfe.png", "png.png"),
        (b"%2e%2e%2f%2e%2e%2fetc%2fpasswd", "passwd.png"),
        (b"a;b=\"c\".png", "a_b__c_.png"),
    ] {
        let name = reqwest::header::HeaderValue::from_bytes(name).unwrap();
        let upload = server.request(Method::POST, "/cdn/files/upload").header("x-fal-file-name", &name);
        let access_url = json_of(upload.header("content-type", "image/png").body("x")).await["access_url"].clone();
        assert!(access_url.as_str().unwrap().ends_with(&format!("/{kept}")), "{name:?}: {access_url}");
    }
    let unnamed = json_of(server.request(Method::POST, "/cdn/files/upload").body("x")).await;
    assert!(unnamed["access_url"].as_str().unwrap().ends_with("/upload.bin"));
}

#[tokio::test]
async fn parts_come_in_parallel_and_are_listed_in_any_order() {
    let server = server().await;
    let key = server.key().await;
    let (token, other) = (token(&server, &key).await, token(&server, &server.key().await).await);
    let bearer = format!("Bearer {token}");
    let begin = server.request(Method::POST, "/cdn/files/upload/multipart").header("authorization", &bearer);
    let begun = json_of(begin.header("content-type", "video/mp4").header("x-fal-file-name", "film.mp4")).await;
    let (access_url, id) = (begun["access_url"].as_str().unwrap(), begun["uploadId"].as_str().unwrap());

    // 105 MiB in parts of 10, the last one first, as Python's threads might
    const PART: usize = 10 * 1024 * 1024;
    let whole: Arc<Vec<u8>> = Arc::new(bytes(105 * 1024 * 1024));
    let client = reqwest::Client::new();
    let sending = (1..=11_usize).rev().map(|number| {
        let (client, whole, bearer) = (client.clone(), whole.clone(), bearer.clone());
        let url = format!("{access_url}/multipart/{id}/{number}");
        tokio::spawn(async move {
            let piece = whole.chunks(PART).nth(number - 1).unwrap().to_vec();
            let sent = client.put(url).header("authorization", bearer).body(piece).send().await.unwrap();
            assert_eq!(sent.status(), 200);
            json!({ "partNumber": number, "etag": sent.headers()["etag"].to_str().unwrap() })
        })
    });
    let mut parts = Vec::new();
    for sent in sending.collect::<Vec<_>>() {
        parts.push(sent.await.unwrap());
    }
    parts.swap(2, 7);
    let complete = |bearer: &str, id: &str| {
        let request = client.post(format!("{access_url}/multipart/{id}/complete")).header("authorization", bearer);
        request.json(&json!({ "parts": parts }))
    };
    assert_eq!(status(complete(&format!("Bearer {other}"), id)).await, 403, "another key's upload");
    assert_eq!(status(complete("Bearer nonsense", id)).await, 401);
    assert_eq!(status(complete(&bearer, "nonsense")).await, 403);
    assert_eq!(status(complete(&bearer, &token)).await, 403, "a token is no upload");
    assert_eq!(json_of(complete(&bearer, id)).await, json!({ "access_url": access_url }));
    assert_eq!(status(complete(&bearer, id)).await, 200, "completing twice is fine");

    assert!(body_of(access_url).await == **whole, "the file differs");
    let around =
        client.get(access_url).header("range", format!("bytes={}-{}", PART - 2, PART + 1)).send().await.unwrap();
    assert_eq!(around.bytes().await.unwrap(), whole[PART - 2..PART + 2]);
}

#[tokio::test]
async fn a_file_may_be_as_large_as_the_owner_says_and_no_larger() {
    let server = with_config(Config { upload_bytes: 2_000_000, body_bytes: 1024, ..Config::default() }).await;
    let (upload_url, file_url) = initiate(&server, INITIATE, &json!({ "file_name": "x.bin" })).await;
    let refused = Raw::put(&upload_url, "content-length: 2000001\r\n").await.answer().await;
    assert!(refused.starts_with("HTTP/1.1 413 ") && refused.contains("2000000 bytes"), "{refused}");
    // a body that does not say how long it is
    let mut chunked = Raw::put(&upload_url, "transfer-encoding: chunked\r\n").await;
    for _ in 0..2 {
        chunked.send(b"fffff\r\n").await;
        chunked.send(&vec![7; 0xf_ffff]).await;
        chunked.send(b"\r\n").await;
    }
    let refused = chunked.answer().await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert_eq!(reqwest::get(&file_url).await.unwrap().status(), 404);
    assert_eq!(put(&upload_url, bytes(2_000_000)).await.status(), 200, "the URL is still good");

    let (upload_url, _) = initiate(&server, INITIATE_PARTS, &json!({ "file_name": "x.bin" })).await;
    let mut parts = Vec::new();
    for number in 1..=3 {
        parts.push(put_part(&upload_url, number, bytes(1_000_000)).await);
    }
    assert_eq!(complete(&upload_url, &json!(parts)).await.status(), 413);
    assert_eq!(complete(&upload_url, &json!(parts[..2])).await.status(), 200);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_can_be_repeated() {
    let server = server().await;
    let (upload_url, file_url) = initiate(&server, INITIATE, &json!({ "file_name": "x.bin" })).await;
    let mut half = Raw::put(&upload_url, "content-length: 4000000\r\n").await;
    half.send(&bytes(3_000_000)).await;
    drop(half);
    assert_eq!(put(&upload_url, bytes(4_000_000)).await.status(), 200);
    assert_eq!(body_of(&file_url).await, bytes(4_000_000));
    let folder = server.stopped().await;
    common::until("nothing is left aside", || common::entries(&folder.path().join("files/aside")) == 0).await;
}

#[tokio::test]
async fn a_disk_that_fails_is_an_error_and_not_a_file() {
    let folder = Folder::new();
    let server = TestServer::on(folder.clone(), &FakeRunner::free()).await;
    // whole files are linked into `b`, long ones come from `aside`, parts are in `parts`: none of them can be made
    for name in ["b", "aside", "parts"] {
        std::fs::write(folder.path().join("files").join(name), b"in the way").unwrap();
    }
    let (upload_url, file_url) = initiate(&server, INITIATE, &json!({ "file_name": "x.bin" })).await;
    let (parts_url, _) = initiate(&server, INITIATE_PARTS, &json!({ "file_name": "x.bin" })).await;
    for (url, size) in [(&upload_url, 10), (&upload_url, 3_000_000), (&below(&parts_url, "1"), 10)] {
        let refused = put(url, bytes(size)).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["content-type"]),
            (503, &"application/json".parse().unwrap())
        );
        let detail = refused.text().await.unwrap();
        assert!(!detail.contains(&folder.path().display().to_string()), "nothing internal is told: {detail}");
    }
    assert_eq!(reqwest::get(&file_url).await.unwrap().status(), 404);
    for name in ["b", "aside", "parts"] {
        std::fs::remove_file(folder.path().join("files").join(name)).unwrap();
    }
    assert_eq!(put(&upload_url, bytes(10)).await.status(), 200, "the same URL, once the disk is well");
    assert_eq!(body_of(&file_url).await, bytes(10));
}

#[tokio::test]
async fn urls_look_like_the_callers_address() {
    let server = server().await;
    let ask = |path: &str| server.request(Method::POST, path).json(&json!({ "file_name": "x.bin" }));
    let by_host = json_of(ask("/storage/upload/initiate").header("host", "rest.fal.ai")).await;
    let upload_url = by_host["upload_url"].as_str().unwrap();
    let path = upload_url.strip_prefix("http://v3.fal.media").unwrap();
    assert!(
        path.starts_with("/put/b/")
            && by_host["file_url"].as_str().unwrap().starts_with("http://v3.fal.media/files/b/")
    );
    let sent = server.request(Method::PUT, path).header("host", "v3.fal.media").body("by host");
    assert_eq!(status(sent).await, 200);
    let proxied = ask("/api/fal/proxy").header("x-fal-target-url", format!("https://rest.fal.ai{}", &INITIATE[5..]));
    let proxied = json_of(proxied).await;
    assert!(proxied["upload_url"].as_str().unwrap().starts_with(&format!("{}/cdn/put/b/", server.url)));
    let named = json_of(ask(INITIATE).header("host", "images.lan:8443")).await;
    assert!(named["file_url"].as_str().unwrap().starts_with("http://images.lan:8443/cdn/files/b/"));
    let token = json_of(server.request(Method::POST, "/storage/auth/token").header("host", "rest.fal.ai:81")).await;
    assert_eq!(token["base_url"], "http://v3.fal.media:81");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_not_waited_for() {
    let mut setup = Setup::default();
    setup.limits.body_pause = Duration::from_millis(50);
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    let (upload_url, file_url) = initiate(&server, INITIATE, &json!({})).await;
    let mut upload = Raw::put(&upload_url, "content-length: 10\r\n").await;
    upload.send(b"123").await;
    let answer = upload.answer().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("ended before all of its bytes"), "{answer}");
    assert_eq!(reqwest::get(file_url).await.unwrap().status(), 404);
    // the same where the whole body is read at once
    let call = Raw::put(&format!("{}/queue/a/b/requests/c/cancel", server.url), "content-length: 10\r\n").await;
    assert!(call.answer().await.starts_with("HTTP/1.1 404 "), "a body that nobody reads is not waited for");
    let mut call = Raw::post(&format!("{}/run/{ENDPOINT}", server.url), "content-length: 10\r\n").await;
    call.send(b"{\"prom").await;
    let answer = call.answer().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("{\"detail\":"), "{answer}");
}

#[tokio::test]
async fn a_body_that_comes_drop_by_drop_is_not_waited_for_either() {
    let mut setup = Setup::default();
    // each drop comes within the pause, and a thousand of them would take far longer than the rate allows
    (setup.limits.body_pause, setup.limits.body_rate) = (Duration::from_millis(500), 1_000_000);
    let server = TestServer::with(setup, &FakeRunner::free()).await;
    let call = Raw::post(&format!("{}/run/{ENDPOINT}", server.url), "content-length: 1000\r\n").await;
    let answer = tokio::time::timeout(Duration::from_secs(20), call.drip(Duration::from_millis(20))).await;
    let answer = answer.expect("the server ends it");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("{\"detail\":"), "{answer}");
}
