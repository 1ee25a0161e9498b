//! A closed model through the binary: keys from the environment and the file, cost in the job's record, records for CI.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Desk, Serving, plain, succeeded};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

const KEY: &str = "canary-0d6f2ab948";
const ENDPOINT: &str = "fal-ai/recraft/v2/text-to-image";

/// What stands in for Recraft: it gives links to a picture of its own.
struct Maker {
    url: String,
    asked: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Maker {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, place) = (Arc::<AtomicUsize>::default(), url.clone());
        let counted = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counted, place) = (counted.clone(), place.clone());
                tokio::spawn(async move { answer(stream, &counted, &place).await });
            }
        });
        Self { url, asked, _serving: AbortOnDropHandle::new(serving) }
    }
}

async fn answer(mut stream: TcpStream, asked: &AtomicUsize, place: &str) -> Option<()> {
    let mut request = Vec::new();
    loop {
        stream.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse().unwrap() {
            break;
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let (kind, body) = if text.starts_with("POST /v1/images/generations ") {
        assert!(text.contains(&format!("authorization: Bearer {KEY}\r\n")), "{text}");
        asked.fetch_add(1, Ordering::SeqCst);
        let data = json!([{ "image_id": "1", "url": format!("{place}/picture.png?sig=a%2Fb") }]);
        ("application/json", json!({ "credits": 22, "data": data, "echo": KEY }).to_string().into_bytes())
    } else {
        assert!(!text.contains(KEY), "{text}");
        ("image/png", png())
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&body).await.ok()?;
    stream.shutdown().await.ok()
}

fn png() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let shade = |x, y| image::Rgb([x as u8, y as u8, 99]);
    RgbImage::from_fn(20, 20, shade).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn call(serving: &Serving) -> (u16, reqwest::header::HeaderMap, Value) {
    let input = json!({ "prompt": "a fox", "style": "digital_illustration/pixel_art" });
    let sent = plain().post(serving.url(&format!("/run/{ENDPOINT}"))).json(&input).send().await.unwrap();
    (sent.status().as_u16(), sent.headers().clone(), sent.json().await.unwrap())
}

/// Whether the key is anywhere below a folder.
fn assert_no_key(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_key(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "the key is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_key_opens_a_closed_model_and_is_told_to_nobody_else() {
    let (desk, maker) = (Desk::new(), Maker::new().await);
    let config = format!("[fetch]\nallow_private = true\n[providers.recraft]\nbase_url = \"{}\"\n", maker.url);
    desk.write("scumble.toml", &config);
    let flags = ["--config", "scumble.toml", "--record", "records"];
    let serving = desk.serve_logging(&flags, &[("RECRAFT_API_KEY", KEY), ("RUST_LOG", "trace")], "log.txt");
    let (status, headers, body) = call(&serving).await;
    assert_eq!((status, &headers["x-scumble-cost-usd"]), (200, &"0.022000".parse().unwrap()), "{body}");
    assert_eq!(
        (&body["images"][0]["content_type"], &body["images"][0]["file_size"]),
        (&json!("image/png"), &json!(png().len()))
    );
    assert!(!body.to_string().contains(KEY));
    let list = succeeded(&desk.scumble(&["jobs", "list", "--json", "--data-dir", "data"]));
    let list: Value = serde_json::from_str(&list).unwrap();
    let shown = succeeded(&desk.scumble(&["jobs", "show", list[0]["id"].as_str().unwrap(), "--data-dir", "data"]));
    assert!(shown.contains("0.022000 US dollars, to recraft") && shown.contains("answered by recraft"), "{shown}");
    serving.stop();
    assert_eq!(maker.asked.load(Ordering::SeqCst), 1);
    let log = std::fs::read_to_string(desk.path("log.txt")).unwrap();
    assert!(log.contains("provider=\"recraft\"") && log.contains("job finished"), "{log}");
    assert_no_key(&desk.path(""));

    // from then on without a key, and without the maker
    drop(maker);
    let serving = desk.serve_logging(&["--replay", "records"], &[], "log2.txt");
    let (status, _, again) = call(&serving).await;
    assert_eq!((status, &again["images"][0]["file_size"]), (200, &json!(png().len())), "{again}");
    // what was not recorded is told as that
    let other = plain().post(serving.url(&format!("/run/{ENDPOINT}"))).json(&json!({ "prompt": "an owl" }));
    let body: Value = other.send().await.unwrap().json().await.unwrap();
    let said = body["detail"][0]["msg"].as_str().unwrap();
    assert!(said.starts_with("This server replays recorded exchanges with makers (--replay), and none"), "{body}");
    serving.stop();

    // without either, the missing key is named
    let serving = desk.serve_logging(&[], &[], "log3.txt");
    let (status, headers, body) = call(&serving).await;
    assert_eq!((status, &headers["x-fal-retryable"]), (400, &"false".parse().unwrap()));
    assert!(body["detail"].as_str().unwrap().contains("RECRAFT_API_KEY"), "{body}");
    // in OpenAI's words too: their clients do not repeat a 400
    let image = format!("data:image/png;base64,{}", STANDARD.encode(png()));
    let edit = plain().post(serving.url("/v1/images/edits")).json(&json!({ "prompt": "a hat", "image": image }));
    let edit = edit.send().await.unwrap();
    assert_eq!(edit.status(), 400);
    let body: Value = edit.json().await.unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    let said = body["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("Black Forest Labs has no key on this server: set BFL_API_KEY"), "{said}");
}

#[test]
fn settings_of_makers_are_checked_before_anything_starts() {
    let desk = Desk::new();
    for (text, words) in [
        ("[providers.recraft]\nkey = \"x\"", &["scumble.toml, line 2", "there is no key here", "api_key"][..]),
        ("[providers.openai]", &["there is no openai here; there are bfl, ideogram"]),
        ("[providers.bfl]\nbase_url = \"nonsense\"", &["[providers.bfl] base_url"]),
        ("[limits]\nspend_per_day = { openai = 1 }", &["[limits] spend_per_day", "openai"]),
        ("[limits]\nspend_per_day = -1", &["[limits] spend_per_day", "US dollars", "-1"]),
        ("[limits]\nspend_per_day = { bfl = nan }", &["[limits] spend_per_day of bfl", "US dollars"]),
        ("[providers.bfl]\nspend_per_day = -1", &["[providers.bfl] spend_per_day", "US dollars"]),
        ("[models.\"fal-ai/flux/dev\"]\nprovider = \"bfl\"", &["Black Forest Labs does not serve"]),
        ("[models.\"fal-ai/flux/dev\"]\nprovider = [\"local\", \"magic\"]", &["there is no magic"]),
    ] {
        desk.write("scumble.toml", &format!("{text}\n"));
        desk.refuses(&["serve", "--config", "scumble.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"], 2, words);
    }
    desk.refuses(&["serve", "--replay", "nowhere", "--data-dir", "data"], 4, &["--replay", "nowhere"]);
    std::fs::create_dir(desk.path("records")).unwrap();
    desk.write("records/broken.json", "{");
    desk.refuses(&["serve", "--replay", "records", "--data-dir", "data"], 4, &["--replay", "broken.json"]);
}
