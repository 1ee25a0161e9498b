//! HTTPS, CONNECT and hosts: the binary as programs find and trust it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{Desk, HOSTS, Serving, client, star, succeeded, trusting};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Method, Response, Version};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio::task::JoinSet;

async fn answer(sent: Result<Response, reqwest::Error>) -> (u16, Value) {
    let answer = sent.unwrap();
    assert_eq!(answer.headers()["x-fal-request-id"].len(), 36, "every answer has a request id");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn ca(desk: &Desk) -> PathBuf {
    desk.path("data/tls/ca.pem")
}

#[tokio::test]
async fn every_service_name_is_served_with_a_certificate_that_the_local_authority_vouches_for() {
    let desk = Desk::new();
    let server = desk.serve(&["--tls-dev"]);
    let client = client(server.address, &ca(&desk));
    for host in HOSTS {
        let (status, _) = answer(client.get(format!("https://{host}/nobody/nothing")).send().await).await;
        // ws.fal.run has nothing for those who do not ask for a WebSocket
        assert_eq!(status, if host == "ws.fal.run" { 400 } else { 404 }, "{host}");
    }
    let (status, output) = answer(client.post("https://fal.run/scumble/starter").json(&star()).send().await).await;
    let url = output["images"][0]["url"].as_str().unwrap();
    assert_eq!((status, url.starts_with("https://v3.fal.media/files/")), (200, true), "{url}");
    let image = client.get(url).send().await.unwrap();
    assert_eq!(image.headers()["content-type"], "image/png");
    let submit = client.post("https://queue.falrun.com/scumble/starter").json(&star()).send().await;
    let status_url = answer(submit).await.1["status_url"].as_str().unwrap().to_owned();
    assert!(status_url.starts_with("https://queue.fal.run/scumble/starter/requests/"), "{status_url}");
    assert!([200, 202].contains(&answer(client.get(status_url).send().await).await.0));
    // as itself, by address and by name
    for base in [format!("https://{}", server.address), format!("https://localhost:{}", server.address.port())] {
        let submit = client.post(format!("{base}/queue/scumble/starter")).json(&star()).send().await;
        let url = answer(submit).await.1["response_url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("{base}/queue/")), "{url}");
    }
}

#[tokio::test]
async fn one_port_serves_http_and_https() {
    let desk = Desk::new();
    let mut server = desk.serve(&["--tls-dev"]);
    let printed = server.prints("/etc/hosts");
    let port = server.address.port();
    for line in [format!("Scumble listens on https://127.0.0.1:{port}"), "NODE_EXTRA_CA_CERTS=".into()] {
        assert!(printed.contains(&line), "{printed}");
    }
    let trusted = printed.lines().find_map(|l| l.trim().strip_prefix("export SSL_CERT_FILE=")).unwrap();
    let trusted = std::fs::read_to_string(trusted).unwrap();
    assert!(trusted.ends_with(&std::fs::read_to_string(ca(&desk)).unwrap()), "Python trusts the authority");
    assert!(server.prints("fal.run queue").contains("127.0.0.1 fal.run"));
    let plain = trusting(&ca(&desk)).no_proxy().build().unwrap();
    for scheme in ["http", "https"] {
        let base = format!("{scheme}://{}", server.address);
        let submit = plain.post(format!("{base}/queue/scumble/starter")).json(&star()).send().await;
        let url = answer(submit).await.1["response_url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&base), "URLs use the caller's scheme: {url}");
    }
    // whoever does not know the authority does not get through
    let stranger = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    desk.write("stranger.pem", &params.self_signed(&stranger).unwrap().pem());
    let distrustful = trusting(&desk.path("stranger.pem")).no_proxy().build().unwrap();
    assert!(distrustful.get(format!("https://{}/health", server.address)).send().await.is_err());
}

#[tokio::test]
async fn the_authority_stays_and_vouches_for_what_the_owner_names() {
    let desk = Desk::new();
    desk.write("a.toml", "[server]\nhosts = [\"images.test\"]\npublic_url = \"https://pictures.test/sub\"\n");
    let first = desk.serve(&["--tls-dev", "--config", "a.toml"]);
    let authority = std::fs::read(ca(&desk)).unwrap();
    let client = |address| {
        let names = ["images.test", "queue.images.test", "cdn.images.test", "pictures.test"];
        let builder = names.iter().fold(trusting(&ca(&desk)).no_proxy(), |b, name| b.resolve(name, address));
        builder.build().unwrap()
    };
    let own = client(first.address);
    let submit = own.post("https://queue.images.test/scumble/starter").json(&star()).send().await;
    let url = answer(submit).await.1["status_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://queue.images.test/scumble/starter/"), "{url}");
    let (status, output) = answer(own.post("https://images.test/scumble/starter").json(&star()).send().await).await;
    assert_eq!(status, 200);
    assert!(output["images"][0]["url"].as_str().unwrap().starts_with("https://cdn.images.test/files/"), "{output}");
    let submit = own.post("https://pictures.test/queue/scumble/starter").json(&star()).send().await;
    let url = answer(submit).await.1["status_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://pictures.test/sub/queue/"), "the owner's word goes: {url}");
    first.stop();
    let second = desk.serve(&["--tls-dev", "--config", "a.toml"]);
    assert_eq!(std::fs::read(ca(&desk)).unwrap(), authority, "made once");
    assert!(client(second.address).get("https://pictures.test/health").send().await.is_ok());
    drop(second);
    // a name that the authority was not made for
    desk.write("b.toml", "[server]\nhosts = [\"bank.test\"]\n");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--tls-dev", "--config", "b.toml"];
    desk.refuses(&args, 4, &["bank.test", "remove that folder"]);
}

#[tokio::test]
async fn connect_leads_to_this_server_and_nowhere_else() {
    let desk = Desk::new();
    let server = desk.serve(&["--tls-dev", "--connect"]);
    let proxy = reqwest::Proxy::https(server.url("")).unwrap();
    let client: Client = trusting(&ca(&desk)).proxy(proxy).build().unwrap();
    let (status, output) = answer(client.post("https://fal.run/scumble/starter").json(&star()).send().await).await;
    let url = output["images"][0]["url"].as_str().unwrap();
    assert_eq!((status, url.starts_with("https://v3.fal.media/files/")), (200, true), "{url}");
    assert_eq!(client.get(url).send().await.unwrap().status(), 200, "files come through the tunnel too");
    assert!(client.get("https://example.com/").send().await.is_err());
    let connect =
        |target: &str| server.raw(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"));
    for target in
        ["example.com:443", "fal.run:80", "fal.run:22", "127.0.0.1:443", "fal.run.example.com:443", "localhost:443"]
    {
        let (status, body) = connect(target);
        assert_eq!((status, body["detail"].is_string()), (403, true), "{target}");
    }
    let off = desk.serve(&["--tls-dev"]);
    let (status, body) = off.raw("CONNECT fal.run:443 HTTP/1.1\r\nHost: fal.run:443\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 405);
    assert!(body["detail"].as_str().unwrap().contains("--connect"), "{body}");
    desk.refuses(&["serve", "--listen", "127.0.0.1:0", "--connect"], 2, &["--tls-dev", "cert"]);
}

#[tokio::test]
async fn hosts_that_are_none_are_refused() {
    let desk = Desk::new();
    let server = desk.serve(&[]);
    let get = |head: &str| server.raw(&format!("GET /health HTTP/1.1\r\n{head}Connection: close\r\n\r\n"));
    for bad in [
        "",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: user@fal.run\r\n",
        "Host: fal.run:99999\r\n",
        "Host: <script>\r\n",
        "Host: fal.run\r\nHost: queue.fal.run\r\n",
    ] {
        let (status, body) = get(bad);
        assert_eq!((status, body["detail"].is_string()), (400, true), "{bad:?}: {body}");
    }
    assert_eq!(get("Host: anything.example:1\r\n").0, 200);
    assert_eq!(server.raw("GET /health HTTP/1.0\r\n\r\n").0, 200, "HTTP/1.0 has no Host");
    let large = format!("Host: a\r\nX-Large: {}\r\n", "x".repeat(66_000));
    assert_eq!(get(&large).0, 431);
    // with a key names do not matter; without a proxy that the owner trusts, anybody could say this
    let key = succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    let forwarded = "Host: a.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\n";
    let submit = |server: &common::Serving| {
        let body = star().to_string();
        let key = format!("Authorization: Key {}\r\n", key.trim());
        let head = format!("{forwarded}{key}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        server.raw(&format!("POST /queue/scumble/starter HTTP/1.1\r\n{head}")).1["status_url"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(submit(&server).starts_with("http://a.example/queue/"));
    desk.write("scumble.toml", "[server]\ntrusted_proxy = true\n");
    let behind = desk.serve(&["--config", "scumble.toml"]);
    assert!(submit(&behind).starts_with("https://b.example/queue/"));
}

#[tokio::test]
async fn the_owners_certificate_is_checked_before_it_is_served() {
    let desk = Desk::new();
    let made = |name: &str, years: std::ops::Range<i32>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        desk.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        desk.write(&format!("{name}.key"), &key.serialize_pem());
    };
    made("good", 2020..2200);
    made("other", 2020..2200);
    made("old", 2020..2021);
    made("early", 2199..2200);
    desk.write("empty", "");
    desk.write("no", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    let config = |cert: &str, key: &str| {
        desk.write("scumble.toml", &format!("[server]\ntls = {{ cert = {cert:?}, key = {key:?} }}\n"));
    };
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--config", "scumble.toml"];
    for (cert, key, words) in [
        ("gone.pem", "good.key", &["gone.pem", "cannot read"][..]),
        ("good.pem", "gone.key", &["gone.key", "cannot read"]),
        ("empty", "good.key", &["empty", "no certificate", "BEGIN CERTIFICATE"]),
        ("good.key", "good.key", &["good.key", "no certificate"]),
        ("no", "good.key", &["no cannot be used"]),
        ("good.pem", "good.pem", &["good.pem", "private key", "PKCS#8"]),
        ("good.pem", "other.key", &["good.pem", "other.key", "belong together"]),
        ("old.pem", "old.key", &["old.pem", "expired", "2021"]),
        ("early.pem", "early.key", &["early.pem", "valid only from", "2199"]),
        ("data", "good.key", &["data", "cannot read"]),
    ] {
        config(cert, key);
        std::fs::create_dir_all(desk.path("data")).unwrap();
        desk.refuses(&args, 4, words);
    }
    config("good.pem", "good.key");
    let server = desk.serve(&["--config", "scumble.toml"]);
    let client = trusting(&desk.path("good.pem")).no_proxy().build().unwrap();
    let health = client.request(Method::GET, format!("https://{}/health", server.address)).send().await;
    assert_eq!(health.unwrap().status(), 200);
    desk.refuses(&[&args[..], &["--tls-dev"]].concat(), 2, &["--tls-dev", "choose one"]);
}

#[test]
fn only_a_certificate_for_fals_names_is_said_to_be_for_them() {
    let desk = Desk::new();
    let printed = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        desk.write("cert.pem", &CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem());
        desk.write("key.pem", &key.serialize_pem());
        desk.write("scumble.toml", "[server]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\nconnect = true\n");
        // what is printed last
        let mut server = desk.serve(&["--config", "scumble.toml", "--metrics-listen", "127.0.0.1:0"]);
        server.prints("Metrics are at")
    };
    let own = printed(&["images.example.com"]);
    assert!(own.contains("listens on https://"), "{own}");
    assert!(!own.contains("fal.run") && !own.contains("HTTPS_PROXY") && !own.contains("/etc/hosts"), "{own}");
    let fals = printed(&["*.fal.run", "fal.run"]);
    assert!(fals.contains("HTTPS_PROXY") && fals.contains("To be fal.run for the whole machine"), "{fals}");
}

#[tokio::test]
async fn https_carries_http2_to_those_who_speak_it() {
    let desk = Desk::new();
    let server = desk.serve(&["--tls-dev"]);
    let base = format!("https://{}", server.address);
    let speaking = trusting(&ca(&desk)).no_proxy().build().unwrap();
    let health = speaking.get(format!("{base}/health")).send().await.unwrap();
    assert_eq!((health.version(), health.status().as_u16()), (Version::HTTP_2, 200));
    let older = trusting(&ca(&desk)).no_proxy().http1_only().build().unwrap();
    assert_eq!(older.get(format!("{base}/health")).send().await.unwrap().version(), Version::HTTP_11);
    let plain = common::plain().get(server.url("/health")).send().await.unwrap();
    assert_eq!(plain.version(), Version::HTTP_11);

    let call = speaking.post(format!("{base}/run/scumble/starter")).json(&star()).send().await;
    let (status, output) = answer(call).await;
    let url = output["images"][0]["url"].as_str().unwrap();
    assert_eq!((status, url.starts_with(&format!("{base}/cdn/files/"))), (200, true), "{url}");
    assert_eq!(speaking.get(url).send().await.unwrap().headers()["content-type"], "image/png");
    let stream = speaking.post(format!("{base}/run/scumble/starter/stream")).json(&star()).send().await.unwrap();
    assert_eq!(stream.version(), Version::HTTP_2);
    assert!(stream.text().await.unwrap().trim().rsplit("data: ").next().unwrap().contains("/cdn/files/"));
    for (in_url, in_header) in [(60_000, 10_000), (0, 70_000)] {
        let long = speaking.get(format!("{base}/health?{}", "x".repeat(in_url)));
        assert_eq!(long.header("x-long", "x".repeat(in_header)).send().await.unwrap().status(), 431);
    }
    let large = speaking.post(format!("{base}/run/scumble/starter")).body(vec![b' '; 60 * 1024 * 1024]).send().await;
    // the answer comes while the body is on its way, which some clients take for a broken connection
    if let Ok(refused) = large {
        assert_eq!(refused.status(), 413);
    }
    // more at once than one connection has room for
    let mut asking = JoinSet::new();
    for _ in 0..400 {
        asking.spawn(speaking.get(format!("{base}/ready")).send());
    }
    for asked in asking.join_all().await {
        assert_eq!(asked.unwrap().status(), 200);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_lets_requests_over_http2_have_their_answer() {
    let desk = Desk::new();
    let server = desk.serve(&["--tls-dev", "--stand-in=1500"]);
    let base = format!("https://{}", server.address);
    let client = trusting(&ca(&desk)).no_proxy().build().unwrap();
    let submit = client.post(format!("{base}/run/fal-ai/flux/dev")).json(&serde_json::json!({ "prompt": "x" })).send();
    let call = tokio::spawn(submit);
    let working = async {
        loop {
            let jobs = client.get(format!("{base}/jobs")).send().await.unwrap().text().await.unwrap();
            if jobs.contains("/history/") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), working).await.expect("the call is at work");
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    // the picture, or leave to try again where no worker had it yet: not a broken connection
    let status = answer.status().as_u16();
    assert!([200, 503].contains(&status), "{status}");
    assert!(answer.json::<Value>().await.unwrap().is_object());
}

/// A TLS connection by hand, to which these protocols are offered.
fn by_hand(desk: &Desk, server: &Serving, protocols: &[&[u8]]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca(desk)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

#[test]
fn websockets_stay_with_http_1() {
    let desk = Desk::new();
    let server = desk.serve(&["--tls-dev"]);
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = by_hand(&desk, &server, protocols);
        let request = "GET /run/scumble/starter/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: \
                       websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_cost_the_server_nothing() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let desk = Desk::new();
    let server = desk.serve(&["--tls-dev"]);
    let mut stream = by_hand(&desk, &server, &[b"h2"]);
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).unwrap();
    // GET https /llms.txt, its last two fields as literals
    let mut head = vec![0x82, 0x87, 0x04, 9];
    head.extend(b"/llms.txt");
    head.extend([0x01, 9]);
    head.extend(b"localhost");
    // END_STREAM and END_HEADERS, then RST_STREAM with CANCEL
    let flood =
        (0..500_000u32).map(move |n| [frame(1, 5, 2 * n + 1, &head), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat());
    let flood = tokio::task::spawn_blocking(move || flood.into_iter().any(|pair| stream.write_all(&pair).is_err()));
    let client = trusting(&ca(&desk)).no_proxy().build().unwrap();
    let health = client.get(format!("https://{}/health", server.address)).timeout(Duration::from_secs(2)).send().await;
    assert_eq!(health.unwrap().status(), 200, "others are served meanwhile");
    let was_cut = tokio::time::timeout(Duration::from_secs(60), flood).await.expect("an end").unwrap();
    assert!(was_cut, "the connection ends long before all of it was sent");
}
