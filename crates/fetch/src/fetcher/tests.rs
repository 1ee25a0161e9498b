//! The client against hosts that lie, dawdle and flood. 127.0.0.2 plays the internet, 127.0.0.1 the private network.

mod download;
mod host;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use async_trait::async_trait;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use self::host::{Host, Reply};
use super::*;

const INTERNET: &str = "127.0.0.2";
const PRIVATE: &str = "127.0.0.1";
const LIMITS: Limits = Limits { bytes: 1000, time: Duration::from_secs(20) };

/// Answers each question with the next of its answers, the last one for ever.
struct Answers(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl Resolve for Answers {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().expect("no panic");
        let next = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(next.iter().map(|ip| ip.parse().expect("an address")).collect())
    }
}

fn fetcher(answers: &[&[&'static str]]) -> Fetcher {
    let answers = Answers(Mutex::new(answers.iter().map(|a| a.to_vec()).collect()));
    let config = Config { idle_timeout: Duration::from_millis(200), ..Config::default() };
    let mut fetcher = Fetcher::with_resolver(config, Arc::new(answers));
    fetcher.guard.reach = |ip| ip == IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    fetcher
}

fn online() -> Fetcher {
    fetcher(&[&[INTERNET]])
}

fn ok(body: &str) -> Reply {
    let length = body.len();
    Reply::Say(format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {length}\r\n\r\n{body}").into())
}

fn to(location: &str) -> Reply {
    Reply::Say(format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into())
}

fn say(bytes: &str) -> Reply {
    Reply::Say(bytes.into())
}

/// What comes of reading from a host that gives this reply.
async fn read(reply: Reply) -> Result<Fetched> {
    let host = Host::new(INTERNET, move |_| reply.clone()).await;
    let read = online().get(&format!("http://far.example:{}/a.png", host.port), LIMITS).await;
    if let Err(error) = &read {
        assert!(!error.to_string().contains("127.0.0"), "{error}");
    }
    read
}

#[tokio::test]
async fn a_file_is_read_and_nothing_is_told_but_what_must_be() {
    let host = Host::new(INTERNET, |_| ok("pixels")).await;
    let url = format!("http://far.example:{}/a%20b.png?c=d#e", host.port);
    let file = online().get(&url, LIMITS).await.expect("a file");
    assert_eq!((&file.bytes[..], file.content_type.as_deref()), (&b"pixels"[..], Some("image/png")));
    assert_eq!(file.url.as_str(), url.trim_end_matches("#e"));
    let expected = format!(
        "GET /a%20b.png?c=d HTTP/1.1\r\nhost: far.example:{}\r\nuser-agent: scumble/{}\r\naccept: */*\r\n\
         accept-encoding: identity\r\nconnection: close\r\n\r\n",
        host.port,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(host.heard(), [expected]);
}

#[tokio::test]
async fn a_name_that_changes_its_address_leads_nowhere_else() {
    let outside = Host::new(INTERNET, |_| ok("outside")).await;
    let inside = Host::on(PRIVATE, outside.port, None, |_| ok("inside")).await;
    let url = format!("http://rebound.example:{}/", outside.port);
    let fetcher = fetcher(&[&[INTERNET], &[PRIVATE]]);
    // the address that was checked is the one that was used: a second question would have been answered otherwise
    assert_eq!(fetcher.get(&url, LIMITS).await.expect("a file").bytes, "outside");
    assert_eq!(fetcher.get(&url, LIMITS).await, Err(Error::Private { host: "rebound.example".into() }));
    assert_eq!(inside.heard(), [""; 0]);
}

#[tokio::test]
async fn of_several_addresses_only_public_ones_are_used() {
    let outside = Host::new(INTERNET, |_| ok("outside")).await;
    let inside = Host::on(PRIVATE, outside.port, None, |_| ok("inside")).await;
    let url = format!("http://both.example:{}/", outside.port);
    assert_eq!(fetcher(&[&[PRIVATE, INTERNET]]).get(&url, LIMITS).await.expect("a file").bytes, "outside");
    assert_eq!(inside.heard(), [""; 0]);
}

#[tokio::test]
async fn an_address_that_refuses_does_not_stand_in_the_way_of_the_next() {
    let host = Host::new(INTERNET, |_| ok("pixels")).await;
    let url = format!("http://two.example:{}/", host.port);
    let mut fetcher = fetcher(&[&["127.0.0.3", INTERNET]]);
    fetcher.guard.reach = |_| true;
    assert_eq!(fetcher.get(&url, LIMITS).await.expect("a file").bytes, "pixels");
}

#[tokio::test]
async fn redirects_are_followed_and_each_is_checked() {
    let inside = Host::new(PRIVATE, |_| ok("inside")).await;
    let port = inside.port;
    for private in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
        let outside = Host::new(INTERNET, move |_| to(&format!("http://{private}:{port}/"))).await;
        let read = online().get(&format!("http://far.example:{}/", outside.port), LIMITS).await;
        assert!(matches!(read, Err(Error::Private { .. })), "{private}: {read:?}");
    }
    // a name that is looked up only after the redirect
    let outside = Host::new(INTERNET, move |_| to(&format!("http://inside.example:{port}/"))).await;
    let fetcher = fetcher(&[&[INTERNET], &[PRIVATE]]);
    let read = fetcher.get(&format!("http://far.example:{}/", outside.port), LIMITS).await;
    assert_eq!(read, Err(Error::Private { host: "inside.example".into() }));
    assert_eq!(inside.heard(), [""; 0]);

    let hops = |request: &str| match request.split(' ').nth(1) {
        Some("/a/b") => to("../c?d"),
        Some("/c?d") => to("//far.example:PORT/e"),
        _ => ok("at last"),
    };
    let host = Host::new(INTERNET, move |request| {
        let own = request.split("far.example:").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or_default();
        match hops(request) {
            Reply::Say(bytes) => Reply::Say(String::from_utf8_lossy(&bytes).replace("PORT", own).into()),
            other => other,
        }
    })
    .await;
    let file = online().get(&format!("http://far.example:{}/a/b", host.port), LIMITS).await.expect("a file");
    assert_eq!((&file.bytes[..], file.url.path()), (&b"at last"[..], "/e"));
}

#[tokio::test]
async fn redirects_end() {
    let host = Host::new(INTERNET, |_| to("/again")).await;
    let last = online().get(&format!("http://far.example:{}/", host.port), LIMITS).await;
    assert_eq!(last, Err(Error::TooManyRedirects { max: 5 }));
    assert_eq!(host.heard().len(), 6);
    assert!(matches!(read_to("ftp://far.example/").await, Err(Error::Scheme { .. })));
    assert!(matches!(read_to("file:///etc/passwd").await, Err(Error::Scheme { .. })));
    assert_eq!(read_to("http://me:secret@far.example/").await, Err(Error::Credentials));
    assert!(matches!(read_to("http://[").await, Err(Error::Malformed { .. })));
    assert!(matches!(read(say("HTTP/1.1 302 Found\r\n\r\n")).await, Err(Error::LostRedirect { .. })));
}

async fn read_to(location: &str) -> Result<Fetched> {
    read(to(location)).await
}

#[tokio::test]
async fn slow_hosts_are_given_up() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n";
    let slow = |read: Result<Fetched>| match read {
        Err(Error::TooSlow { doing, .. }) => doing,
        other => panic!("{other:?}"),
    };
    assert_eq!(slow(read(Reply::Hang(Vec::new())).await), "to answer");
    assert_eq!(slow(read(Reply::Hang(b"HTTP/1.1 200 OK\r\nx".to_vec())).await), "to answer");
    let drip = Reply::Drip(b"HTTP/1.1 200 OK\r\n".to_vec(), Duration::from_millis(20));
    assert_eq!(slow(read(drip).await), "to answer", "a head that trickles in");
    assert_eq!(slow(read(Reply::Hang(head.into())).await), "to send more of the file");
    let host = Host::new(INTERNET, move |_| Reply::Drip(head.into(), Duration::from_millis(20))).await;
    let limits = Limits { time: Duration::from_millis(300), ..LIMITS };
    let last = online().get(&format!("http://far.example:{}/", host.port), limits).await;
    assert_eq!(slow(last), "to send the file", "a body that trickles in");
}

#[tokio::test]
async fn bodies_have_a_size() {
    let too_large = Err(Error::TooLarge { max: 1000 });
    let piece = vec![b'x'; 300];
    let endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    assert_eq!(read(Reply::Flood(endless, piece)).await, too_large);
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    assert_eq!(read(Reply::Flood(chunked, b"4\r\nxxxx\r\n".to_vec())).await, too_large);
    // refused by its announcement: not one byte of it comes
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n".to_vec();
    assert_eq!(read(Reply::Hang(announced)).await, too_large);
    let most = "x".repeat(1000);
    assert_eq!(read(ok(&most)).await.map(|file| file.bytes.len()), Ok(1000));
    // announcements that are wrong
    let short = read(say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbroken off")).await;
    assert!(matches!(short, Err(Error::Protocol { .. })), "{short:?}");
    let long = read(say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef")).await;
    assert_eq!(long.map(|file| file.bytes), Ok(Bytes::from("abc")));
    for nonsense in
        ["content-length: -1", "content-length: 3\r\ncontent-length: 4", "content-length: 99999999999999999999"]
    {
        let read = read(say(&format!("HTTP/1.1 200 OK\r\n{nonsense}\r\n\r\nabcdef"))).await;
        assert!(matches!(read, Err(Error::Protocol { .. })), "{nonsense}: {read:?}");
    }
}

#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![0; 500_000]).expect("memory");
    let bomb = packer.finish().expect("memory");
    assert!(bomb.len() < 1000, "it has to pass as small");
    let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    let reply = Reply::Say([std::mem::take(&mut reply).into_bytes(), bomb].concat());
    assert_eq!(read(reply).await, Err(Error::Encoded { host: "far.example".into(), encoding: "gzip".into() }));
    let plain = read(say("HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 1\r\n\r\nx")).await;
    assert_eq!(plain.map(|file| file.bytes), Ok(Bytes::from("x")));
}

#[tokio::test]
async fn what_is_no_file_is_an_error() {
    for status in [304, 401, 404, 500] {
        let read = read(say(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"))).await;
        assert_eq!(read, Err(Error::Status { host: "far.example".into(), status }));
    }
    for garbage in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"] {
        let read = read(say(garbage)).await;
        assert!(matches!(read, Err(Error::Protocol { .. })), "{garbage}: {read:?}");
    }
    let endless = Reply::Flood(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-more: and more\r\n".to_vec());
    assert!(matches!(read(endless).await, Err(Error::Protocol { .. })));
}

#[tokio::test]
async fn hosts_that_are_not_there() {
    let unknown = fetcher(&[&[]]).get("http://nowhere.example/", LIMITS).await;
    assert_eq!(unknown, Err(Error::UnknownHost { host: "nowhere.example".into() }));
    let free = std::net::TcpListener::bind((INTERNET, 0)).and_then(|l| l.local_addr()).expect("a port").port();
    let closed = online().get(&format!("http://gone.example:{free}/"), LIMITS).await;
    assert_eq!(closed, Err(Error::Unreachable { host: "gone.example".into(), reason: "connection refused".into() }));
}

#[tokio::test]
async fn the_usual_client_opens_no_door_to_the_private_network() {
    let host = Host::new(PRIVATE, |_| ok("inside")).await;
    let url = format!("http://127.0.0.1:{}/", host.port);
    let closed = Fetcher::new(Config::default());
    assert_eq!(closed.get(&url, LIMITS).await, Err(Error::Private { host: "127.0.0.1".into() }));
    let post = closed.post(&url, &[], Bytes::new(), LIMITS.time).await;
    assert_eq!(post, Err(Error::Private { host: "127.0.0.1".into() }));
    assert_eq!(host.heard(), [""; 0]);
    let open = Fetcher::new(Config { allow_private: true, ..Config::default() });
    assert_eq!(open.get(&url, LIMITS).await.expect("a file").bytes, "inside");
    let by_name = open.get(&url.replace("127.0.0.1", "localhost"), LIMITS).await;
    assert_eq!(by_name.expect("a file").bytes, "inside");
}

#[tokio::test]
async fn a_post_tells_the_status_and_follows_nobody() {
    let host = Host::new(INTERNET, |request| match request.split(' ').nth(1) {
        Some("/moved") => to("/elsewhere"),
        Some("/flood") => Reply::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4096]),
        Some("/slow") => Reply::Hang(Vec::new()),
        _ => say("HTTP/1.1 204 No Content\r\n\r\n"),
    })
    .await;
    let fetcher = online();
    let post = async |path: &str, limit: Duration| {
        let headers = [(HeaderName::from_static("x-signed"), HeaderValue::from_static("yes"))];
        fetcher.post(&format!("http://far.example:{}{path}", host.port), &headers, "{\"a\":1}".into(), limit).await
    };
    assert_eq!(post("/", LIMITS.time).await, Ok(Answer { status: 204 }));
    assert_eq!(post("/moved", LIMITS.time).await, Ok(Answer { status: 302 }));
    assert_eq!(post("/flood", LIMITS.time).await, Ok(Answer { status: 200 }));
    assert!(matches!(post("/slow", Duration::from_millis(100)).await, Err(Error::TooSlow { .. })));
    let heard = host.heard();
    assert_eq!(heard.len(), 4);
    assert!(heard[0].starts_with("POST / HTTP/1.1\r\n") && heard[0].ends_with("\r\n\r\n{\"a\":1}"), "{}", heard[0]);
    assert!(heard[0].contains("\r\nx-signed: yes\r\n") && heard[0].contains("\r\ncontent-length: 7\r\n"));
}

#[tokio::test]
async fn a_message_is_answered_in_full_and_its_url_is_not_touched() {
    let host = Host::new(INTERNET, |request| match request.split(' ').nth(1) {
        Some("/moved") => to("/elsewhere"),
        Some("/short") => say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
        Some("/slow") => Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec()),
        _ => say("HTTP/1.1 429 No\r\nretry-after: 5\r\ncontent-length: 4\r\n\r\nlate"),
    })
    .await;
    let fetcher = online();
    let send = async |port: u16, path: &str| {
        let headers = [(HeaderName::from_static("x-key"), HeaderValue::from_static("k"))];
        let limits = Limits { bytes: 1000, time: Duration::from_millis(300) };
        let url = format!("http://far.example:{port}{path}");
        fetcher.send(Message { method: Method::POST, url: &url, headers: &headers, body: "{}".into(), limits }).await
    };
    let answer = send(host.port, "/a%2Fb/../c?sig=%2B'").await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (429, &b"late"[..]));
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(send(host.port, "/moved").await.expect("an answer").status, 302);
    for path in ["/short", "/slow"] {
        let lost = send(host.port, path).await.expect_err(path);
        assert!(lost.was_sent(), "{lost:?}");
    }
    let heard = host.heard();
    assert_eq!(heard.len(), 4);
    assert!(heard[0].starts_with("POST /a%2Fb/../c?sig=%2B' HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(heard[0].contains("\r\nx-key: k\r\n"));
    let free = std::net::TcpListener::bind((INTERNET, 0)).and_then(|l| l.local_addr()).expect("a port").port();
    let unsent = send(free, "/").await.expect_err("nobody is there");
    assert!(!unsent.was_sent(), "{unsent:?}");
}

#[tokio::test]
async fn encryption_is_with_whom_the_url_names() {
    let made = rcgen::generate_simple_self_signed(["far.example".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.der().clone(), PrivateKeyDer::try_from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let server = server.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let server = server.with_single_cert(vec![certificate.clone()], key.expect("a key")).expect("a certificate");
    let host = Host::on(INTERNET, 0, Some(Arc::new(server)), |_| ok("secret")).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let trusting = Fetcher { tls: Tls::trusting(roots), ..online() };

    let url = |name: &str| format!("https://{name}:{}/", host.port);
    assert_eq!(trusting.get(&url("far.example"), LIMITS).await.expect("a file").bytes, "secret");
    for (fetcher, name) in [(&trusting, "other.example"), (&trusting, INTERNET), (&online(), "far.example")] {
        let refused = fetcher.get(&url(name), LIMITS).await;
        assert!(matches!(refused, Err(Error::Tls { .. })), "{name}: {refused:?}");
    }
    assert_eq!(host.heard().len(), 1);
    let plain = TcpListener::bind((INTERNET, 0)).await.expect("a port");
    let url = format!("https://far.example:{}/", plain.local_addr().expect("an address").port());
    let serving = async {
        let (mut stream, _) = plain.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("a listener");
        stream
    };
    let (refused, _) = tokio::join!(trusting.get(&url, LIMITS), serving);
    assert!(matches!(refused, Err(Error::Tls { .. })), "{refused:?}");
}
