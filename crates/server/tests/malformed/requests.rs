//! Requests that begin as good ones and then go wrong, in as many places as chance has it. A number makes the same
//! request in every run.

use std::fmt;

use crate::random::Random;

pub(crate) struct Malformed {
    pub(crate) bytes: Vec<u8>,
    /// Whether the server may believe that nothing more comes.
    pub(crate) looks_whole: bool,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes[..self.bytes.len().min(2000)].escape_ascii())
    }
}

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "G\u{0}T", ""];
const VERSIONS: &[&str] = &["HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "http/1.1", "HTTP/1.1 x", ""];

/// Where requests go, and a few places where nothing is.
const PATHS: &[&str] = &[
    "/",
    "/health",
    "/ready",
    "/run/scumble/starter",
    "/run/scumble/starter/",
    "/run/scumble/starter/stream",
    "/run/fal-ai/flux/dev?prompt=x&seed=-1",
    "/run/",
    "/run//",
    "/run/a/b/c/d/e/f/g",
    "/scumble/starter",
    "/queue/scumble/starter",
    "/queue/scumble/starter?fal_webhook=ftp%3A%2F%2Fx&fal_max_queue_length=-1",
    "/queue/scumble/starter?fal_max_queue_length=99999999999999999999",
    "/queue/scumble/starter/requests/764cabcf-b745-4b3e-ae38-1200304cf45b",
    "/queue/scumble/starter/requests/764cabcf-b745-4b3e-ae38-1200304cf45b/status?logs=maybe",
    "/queue/scumble/starter/requests/764cabcf-b745-4b3e-ae38-1200304cf45b/status/stream",
    "/queue/scumble/starter/requests/764cabcf-b745-4b3e-ae38-1200304cf45b/cancel",
    "/queue/scumble/starter/requests/not-an-id/cancel",
    "/queue/requests/requests/requests",
    "/queue/",
    "/rest/tokens/",
    "/rest/tokens/realtime",
    "/rest/storage/upload/initiate?storage_type=fal-cdn-v3",
    "/rest/storage/upload/initiate-multipart",
    "/rest/storage/auth/token?storage_type=fal-cdn-v3",
    "/cdn/files/b/00000000000000000000000000000000/image.png",
    "/cdn/files/b/../../scumble.db",
    "/cdn/files/%2e%2e/%2e%2e/etc/passwd",
    "/cdn/files/upload",
    "/cdn/files/upload/multipart",
    "/cdn/files/upload/multipart/b/x/1",
    "/files/%00",
    "/ws/scumble/starter",
    "/run/scumble/starter/realtime?fal_jwt_token=x.y.z",
    "/api/fal/proxy",
    "/.well-known/jwks.json",
    "/%ff%fe",
    "/a%",
    "//",
    "*",
    "http://fal.run/scumble/starter",
    "no-slash",
];

/// Names of headers that something reads, and values that it should survive.
const HEADERS: &[&str] = &[
    "Host",
    "Authorization",
    "Accept",
    "Content-Type",
    "Range",
    "Origin",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Expect",
    "Idempotency-Key",
    "Content-Range",
    "x-fal-target-url",
    "x-fal-queue-priority",
    "x-fal-request-timeout",
    "x-fal-request-start-timeout",
    "x-fal-runner-hint",
    "x-fal-no-retry",
    "x-fal-retry-config",
    "x-fal-store-io",
    "x-fal-tags",
    "x-fal-object-lifecycle-preference",
    "x-fal-file-name",
    "X-Forwarded-Proto",
    "a b",
    "\u{0}",
    "",
];

const VALUES: &[&str] = &[
    "",
    " ",
    "0",
    "-1",
    "1e309",
    "NaN",
    "18446744073709551616",
    "Key ",
    "Key a:b",
    "Bearer \u{7f}",
    "Basic Og==",
    "fal.run",
    "queue.fal.run:99999",
    "[::1",
    "a@b:c",
    "https://fal.run/scumble/starter",
    "https://169.254.169.254/",
    "https://fal.run\\@x/",
    "bytes=0-",
    "bytes=9-1",
    "bytes=-0,5-",
    "bytes 0-1/2",
    "websocket",
    "Upgrade",
    "close, upgrade",
    "dGhlIHNhbXBsZSBub25jZQ==",
    "13",
    "100-continue",
    "text/event-stream",
    "application/json; charset=utf-7",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x",
    "application/msgpack",
    "{",
    "{\"expiration_duration_seconds\":-1e999}",
    "{\"max_retries\":{}}",
    "a=b,c;d=,=,",
    "low",
    "\u{e9}",
];

/// Bodies, good ones among them.
const BODIES: &[&str] = &[
    "",
    " ",
    "{}",
    "[]",
    "null",
    "1e999",
    "\"\\ud800\"",
    "{\"prompt\":\"x\"}",
    "{\"prompt\":\"x\",\"num_inference_steps\":1,\"image_size\":{\"width\":64,\"height\":64}}",
    "{\"prompt\":\"x\",\"num_inference_steps\":1e30,\"image_size\":{\"width\":-1,\"height\":1e99}}",
    "{\"prompt\":null,\"seed\":18446744073709551616,\"image_size\":\"huge\"}",
    "{\"prompt\":[\"x\"],\"num_images\":\"4\",\"sync_mode\":2}",
    "{\"prompt\":\"x\",\"prompt\":{}}",
    "{\"prompt\":\"x\",\"image_url\":\"file:///etc/passwd\"}",
    "{\"prompt\":",
    "{\"a\":\"\\u0000\"}",
    "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../x\"\r\n\r\nbytes\r\n--x--\r\n",
    "--x\r\nContent-Disposition: form-data\r\n\r\n",
    "--x\r\n\r\n",
    "\u{81}\u{fe}\u{ff}\u{ff}",
];

impl Malformed {
    pub(crate) fn make(random: &mut Random) -> Self {
        let body = body(random);
        let mut bytes = head(random, body.len());
        bytes.extend(body);
        let mut looks_whole = true;
        // sometimes only a part is sent, or some of it is damaged
        match random.below(12) {
            0 => {
                bytes.truncate(random.below(bytes.len() + 1));
                looks_whole = false;
            }
            1 | 2 => {
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len());
                    bytes[at] = random.next() as u8;
                }
                looks_whole = false;
            }
            _ => {}
        }
        Self { bytes, looks_whole }
    }
}

fn head(random: &mut Random, length: usize) -> Vec<u8> {
    let method = match random.below(3) {
        0 => "POST",
        1 => "GET",
        _ => random.pick(METHODS),
    };
    let version = if random.one_in(20) { random.pick(VERSIONS) } else { "HTTP/1.1" };
    let mut head = format!("{method} {} {version}\r\n", path(random)).into_bytes();
    if !random.one_in(20) {
        head.extend(b"Host: localhost\r\n");
    }
    if !random.one_in(10) {
        head.extend(b"Connection: close\r\n");
    }
    for _ in 0..random.below(5) {
        head.extend(header(random));
    }
    let lengths = match random.below(16) {
        0 => format!("Content-Length: {}\r\n", random.next()),
        1 => "Content-Length: -5\r\n".into(),
        2 => format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length + 1),
        3 => "Transfer-Encoding: chunked\r\n".into(),
        4 => format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        5 => String::new(),
        _ => format!("Content-Length: {length}\r\n"),
    };
    head.extend(lengths.into_bytes());
    head.extend(b"\r\n");
    head
}

fn path(random: &mut Random) -> String {
    let mut path = random.pick(PATHS).to_owned();
    match random.below(12) {
        0 => path.push_str(&"/a".repeat(random.below(2000))),
        1 => path.push_str("?logs=%ff%&%00=1&&=&a=b=c"),
        2 => path.push_str("?x=\u{e9}#fragment"),
        3 => path.insert_str(path.len() / 2 + usize::from(!path.is_char_boundary(path.len() / 2)), "%2f..%5c"),
        _ => {}
    }
    path
}

fn header(random: &mut Random) -> Vec<u8> {
    let mut line = format!("{}: {}", random.pick(HEADERS), random.pick(VALUES)).into_bytes();
    match random.below(16) {
        0 => line.extend(random.bytes(64)),
        1 => line.extend(b"x".repeat(random.below(40_000))),
        2 => line.extend(b"\r\n folded"),
        _ => {}
    }
    line.extend(b"\r\n");
    line
}

fn body(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random.bytes(300),
        1 => b"[".repeat(random.below(20_000)),
        2 => format!("{{\"prompt\":\"{}\"}}", "x".repeat(random.below(80_000))).into_bytes(),
        3 => format!("{:x}\r\n{}\r\n0\r\n\r\n", random.next(), random.pick(BODIES)).into_bytes(),
        4 => format!("5\r\n{{\"a\":\r\n{}\r\n", random.pick(BODIES)).into_bytes(),
        _ => random.pick(BODIES).as_bytes().to_vec(),
    }
}
