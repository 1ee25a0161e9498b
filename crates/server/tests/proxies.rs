//! Proxies that show this server below a path: everything it names can be reached by what it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::json_of;
use futures::{SinkExt, StreamExt};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use scumble_server::Prefix;
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const BELOW: &str = "/scumble";

/// What a proxy does with the path that it adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Takes it away, and says so.
    Strips,
    /// Passes it on.
    Keeps,
}

/// A server and the proxy in front of it.
struct Shown {
    server: TestServer,
    /// The proxy's address, without the path.
    proxy: String,
    /// The same with it.
    url: String,
}

impl Shown {
    async fn by(way: Way) -> Self {
        let mut setup = Setup::default();
        match way {
            Way::Strips => setup.server.trusted_proxy = true,
            Way::Keeps => setup.server.base_path = Prefix::parse(BELOW).unwrap(),
        }
        let server = TestServer::with(setup, &FakeRunner::free()).await;
        let proxy = proxy(server.url.strip_prefix("http://").unwrap().to_owned(), way).await;
        Self { server, url: format!("{proxy}{BELOW}"), proxy }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        client().get(format!("{}{path}", self.url))
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        client().post(format!("{}{path}", self.url)).json(body)
    }

    /// Checks that a URL leads through the proxy, and gives it.
    fn through<'a>(&self, url: &'a Value) -> &'a str {
        let url = url.as_str().unwrap();
        assert!(url.starts_with(&format!("{}/", self.url)), "{url} does not begin with {}", self.url);
        url
    }
}

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } })
}

async fn ok(response: Response) -> Response {
    assert_eq!(response.status(), 200, "{}", response.url());
    response
}

/// Takes a request on each connection, and passes on what is below its path.
async fn proxy(server: String, way: Way) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, server.clone(), way));
        }
    });
    url
}

async fn pass_on(mut client: TcpStream, server: String, way: Way) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        client.read_buf(&mut bytes).await.ok().filter(|count| *count > 0)?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let [method, path, version] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let Some(rest) = path.strip_prefix(BELOW) else {
        client.write_all(b"HTTP/1.1 418 not below\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.ok()?;
        return None;
    };
    let (path, more) = match way {
        Way::Strips => (rest, format!("x-forwarded-prefix: {BELOW}\r\n")),
        Way::Keeps => (path, String::new()),
    };
    let close = if headers.to_ascii_lowercase().contains("upgrade: websocket") { "" } else { "connection: close\r\n" };
    let mut upstream = TcpStream::connect(server).await.unwrap();
    let head = format!("{method} {path} {version}\r\n{more}{close}{headers}\r\n\r\n");
    upstream.write_all(head.as_bytes()).await.ok()?;
    upstream.write_all(&bytes[end + 4..]).await.ok()?;
    copy_bidirectional(&mut client, &mut upstream).await.ok().map(drop)
}

#[tokio::test]
async fn calls_queue_and_streams_work_below_a_path() {
    for way in [Way::Strips, Way::Keeps] {
        let shown = Shown::by(way).await;
        let output = json_of(shown.post("/run/scumble/starter", &star())).await;
        ok(reqwest::get(shown.through(&output["images"][0]["url"])).await.unwrap()).await;
        let bare = json_of(shown.post("/scumble/starter", &star())).await;
        shown.through(&bare["images"][0]["url"]);

        let submitted = json_of(shown.post("/queue/scumble/starter", &star())).await;
        let [status, response, cancel] =
            ["status_url", "response_url", "cancel_url"].map(|name| shown.through(&submitted[name]));
        let events = reqwest::get(format!("{status}/stream?logs=1")).await.unwrap().text().await.unwrap();
        let last = events.trim().rsplit("data: ").next().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!(last["status"], "COMPLETED");
        shown.through(&last["response_url"]);
        let result = json_of(client().get(response)).await;
        ok(reqwest::get(shown.through(&result["images"][0]["url"])).await.unwrap()).await;
        let cancelled = client().put(cancel).send().await.unwrap();
        assert_eq!(cancelled.json::<Value>().await.unwrap()["status"], "ALREADY_COMPLETED");

        let events = shown.post("/run/scumble/starter/stream", &star()).send().await.unwrap().text().await.unwrap();
        let last: Value = serde_json::from_str(events.trim().rsplit("data: ").next().unwrap()).unwrap();
        shown.through(&last["images"][0]["url"]);

        let drawn = json_of(shown.post(
            "/v1/images/generations",
            &json!({
                "model": ENDPOINT, "prompt": "a star", "size": "64x64", "response_format": "url",
            }),
        ));
        shown.through(&drawn.await["data"][0]["url"]);
        assert!(json_of(shown.get("/v1/models")).await["models"].is_array());
        let target = format!("{}/queue/scumble/starter", shown.url);
        let proxied = shown.post("/api/fal/proxy", &star()).header("x-fal-target-url", target);
        shown.through(&json_of(proxied).await["status_url"]);
    }
}

#[tokio::test]
async fn uploads_and_documents_work_below_a_path() {
    for way in [Way::Strips, Way::Keeps] {
        let shown = Shown::by(way).await;
        let urls = json_of(shown.post("/rest/storage/upload/initiate", &json!({ "file_name": "a.txt" }))).await;
        ok(client().put(shown.through(&urls["upload_url"])).body("hello").send().await.unwrap()).await;
        let read = reqwest::get(shown.through(&urls["file_url"])).await.unwrap();
        assert_eq!(read.text().await.unwrap(), "hello");
        let signed = client().post(format!("{}/sign", urls["file_url"].as_str().unwrap())).send().await.unwrap();
        let signed = signed.text().await.unwrap();
        assert_eq!(reqwest::get(shown.through(&signed.into())).await.unwrap().text().await.unwrap(), "hello");
        let token = json_of(shown.post("/rest/storage/auth/token", &json!({}))).await;
        let base = token["base_url"].as_str().unwrap();
        assert_eq!(base, format!("{}/cdn", shown.url));
        let direct = json_of(client().post(format!("{base}/files/upload")).body("bytes")).await;
        ok(reqwest::get(shown.through(&direct["access_url"])).await.unwrap()).await;
        let document = json_of(shown.get("/models/scumble/starter/openapi.json")).await;
        let servers: Vec<_> = document["servers"].as_array().unwrap().iter().map(|s| &s["url"]).collect();
        assert!(!servers.is_empty());
        for url in servers {
            shown.through(url);
        }
        assert!(shown.get("/llms.txt").send().await.unwrap().text().await.unwrap().contains(&shown.url));
    }
}

#[tokio::test]
async fn realtime_works_below_a_path() {
    for way in [Way::Strips, Way::Keeps] {
        let shown = Shown::by(way).await;
        let url = format!("{}/run/scumble/starter/realtime", shown.url.replacen("http", "ws", 1));
        let (mut socket, _) = connect_async(url).await.unwrap();
        socket.send(Message::Text(star().to_string().into())).await.unwrap();
        let output = loop {
            let next = tokio::time::timeout(Duration::from_secs(30), socket.next()).await.unwrap().unwrap().unwrap();
            if let Message::Text(text) = next {
                break serde_json::from_str::<Value>(&text).unwrap();
            }
        };
        shown.through(&output["images"][0]["url"]);
    }
}

/// The paths that a page names in these attributes.
fn named<'a>(page: &'a str, attributes: &[&str]) -> BTreeSet<&'a str> {
    let of = |attribute: &str| {
        let begin = format!("{attribute}=\"");
        page.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap()).collect::<Vec<_>>()
    };
    attributes.iter().flat_map(|attribute| of(attribute)).filter(|path| path.starts_with('/')).collect()
}

#[tokio::test]
async fn pages_and_all_that_they_load_are_below_the_path() {
    for way in [Way::Strips, Way::Keeps] {
        let shown = Shown::by(way).await;
        let submitted = json_of(shown.post("/queue/scumble/starter", &star())).await;
        shown.server.ended(&submitted).await;
        let request = format!("/history/{}", submitted["request_id"].as_str().unwrap());
        let mut checked = BTreeSet::new();
        for path in ["/", "/models/scumble/starter", "/history", &request, "/jobs", "/keys", "/no/such/page"] {
            let page = shown.get(path).header("accept", "text/html").send().await.unwrap().text().await.unwrap();
            if path != "/no/such/page" {
                assert!(page.contains(&format!("data-base=\"{BELOW}\"")), "{path}");
            }
            for at in named(&page, &["href", "src", "action", "data-follow", "poster"]) {
                assert!(at == BELOW || at.starts_with(&format!("{BELOW}/")), "{path} names {at}");
            }
            for at in named(&page, &["href", "src", "data-follow"]) {
                if checked.insert(at.to_owned()) {
                    let url = format!("{}{}", shown.proxy, at.replace("&amp;", "&"));
                    ok(client().get(url).header("accept", "*/*").send().await.unwrap()).await;
                }
            }
        }
        assert!(checked.len() > 20, "{checked:?}");
        // forms, what they lead to, and the cookie of who has signed in
        let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", shown.proxy.as_str())];
        let form = |path: &str, body: &'static str| {
            let request = client().post(format!("{}{path}", shown.url)).body(body);
            form.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send()
        };
        let made = form("/models/scumble/starter", "prompt=a").await.unwrap();
        let location = made.headers()["location"].to_str().unwrap();
        assert!(location.starts_with("/scumble/history/"), "{location}");
        ok(client().get(format!("{}{location}", shown.proxy)).send().await.unwrap()).await;
        shown.server.key().await;
        let turned = shown.get("/history?state=done").send().await.unwrap();
        assert_eq!(turned.headers()["location"], "/scumble/sign-in?next=%2Fhistory%3Fstate%3Ddone");
        let key = shown.server.key().await;
        let body: &'static str = Box::leak(format!("key={key}&next=/history").replace(':', "%3A").into_boxed_str());
        let signed_in = form("/sign-in", body).await.unwrap();
        assert_eq!(signed_in.headers()["location"], "/scumble/history");
        let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.contains("; Path=/scumble/;"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        ok(shown.get("/history").header("cookie", cookie).send().await.unwrap()).await;
    }
}

#[tokio::test]
async fn past_the_proxy_the_server_is_as_before() {
    let kept = Shown::by(Way::Keeps).await;
    let submit = kept.server.request(Method::POST, "/queue/scumble/starter").json(&star());
    assert!(json_of(submit).await["status_url"].as_str().unwrap().starts_with(&format!("{}/queue/", kept.server.url)));
    let call = kept.server.request(Method::POST, "/scumble/starter").json(&star());
    let url = json_of(call).await["images"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{}/cdn/", kept.server.url)), "an endpoint whose id begins like the path: {url}");
    let first = client().get(format!("{}?q=flux", kept.url)).send().await.unwrap();
    assert_eq!((first.status().as_u16(), &first.headers()["location"]), (308, &"/scumble/?q=flux".parse().unwrap()));
    for path in ["/health", "/ready"] {
        ok(kept.server.request(Method::GET, path).send().await.unwrap()).await;
        ok(kept.get(path).send().await.unwrap()).await;
    }
}

#[tokio::test]
async fn a_prefix_that_could_lead_elsewhere_is_refused_and_a_strangers_is_not_heard() {
    let open = TestServer::new(&FakeRunner::free()).await;
    let trusting = Shown::by(Way::Strips).await;
    for prefix in ["/scumble", "//evil.test", "https://evil.test", "/a;b", "/a\"><script>", "/..", "a"] {
        let ask = |server: &TestServer| {
            let submit = server.request(Method::POST, "/queue/scumble/starter").json(&star());
            submit.header("x-forwarded-prefix", prefix).send()
        };
        let answer: Value = ok(ask(&open).await.unwrap()).await.json().await.unwrap();
        let url = answer["status_url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{}/queue/", open.url)), "{prefix}: {url}");
        let page = open.request(Method::GET, "/").header("x-forwarded-prefix", prefix).send().await.unwrap();
        assert!(page.text().await.unwrap().contains("data-base=\"\""));
        let heard = ask(&trusting.server).await.unwrap();
        assert_eq!(heard.status(), if prefix == "/scumble" { 200 } else { 400 }, "{prefix}");
        let body: Value = heard.json().await.unwrap();
        if prefix != "/scumble" {
            assert!(body["detail"].as_str().unwrap().starts_with("X-Forwarded-Prefix must be"), "{body}");
        }
    }
}
