//! Requests for events, with headers and bodies that make no sense, from callers some of whom do not stay to the end.
//! They get a documented error, or all events and a proper end.

use std::fmt;

use serde_json::Value;

use crate::random::Random;
use crate::{Answer, WAIT, exchange};

/// A request for events.
pub(crate) struct Events {
    bytes: Vec<u8>,
    /// The caller hangs up at some time.
    leaves: bool,
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes[..self.bytes.len().min(2000)].escape_ascii())
    }
}

const ACCEPT: &[&str] = &[
    "text/event-stream",
    "text/event-stream; q=0",
    "application/json",
    "*/*;q=0.0001,text/event-stream;charset=\"utf-7",
    ",,,;;;===",
    "text/event-stream\r\nAccept: image/png",
    "",
];
const LAST_EVENT_ID: &[&str] =
    &["0", "-1", "99999999999999999999999", "x", "1\r\nLast-Event-ID: 2", "\u{e9}", "%00", ""];
const QUERIES: &[&str] =
    &["", "?logs=1", "?logs=true&logs=0", "?logs=%ff", "?fal_jwt_token=x.y.z", "?lastEventId=-1", "?&&=&", "?%"];
const BODIES: &[&str] = &[
    "{\"prompt\":\"x\",\"num_inference_steps\":2,\"image_size\":{\"width\":64,\"height\":64}}",
    "{\"prompt\":\"\\u2028\\r\\ndata: \\u0000 \u{1f31f}\",\"num_inference_steps\":1,\"image_size\":{\"width\":64,\"height\":64}}",
    "{\"prompt\":\"scumble-inline:b/00000000000000000000000000000000/a.png\",\"num_inference_steps\":1,\"image_size\":{\"width\":64,\"height\":64}}",
    "{\"prompt\":1,\"seed\":1e400}",
    "{\"prompt\":\"x\",\"seed\":{}}",
    "[\"prompt\"]",
    "{",
    "",
];

impl Events {
    /// `status` is the path of an ended request's status.
    pub(crate) fn make(random: &mut Random, status: &str) -> Self {
        let query = random.pick(QUERIES);
        let (method, path, body) = match random.below(4) {
            0 => ("GET", format!("{status}/stream{query}"), ""),
            1 => ("GET", format!("{status}/stream/{query}"), ""),
            2 => ("POST", format!("/run/scumble/starter/stream{query}"), random.pick(BODIES)),
            _ => (
                random.pick(&["POST", "PUT", "GET", "HEAD"]),
                format!("/scumble/starter/stream/stream{query}"),
                random.pick(BODIES),
            ),
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if !random.one_in(4) {
            head += &format!("Accept: {}\r\n", random.pick(ACCEPT));
        }
        if !random.one_in(3) {
            head += &format!("Last-Event-ID: {}\r\n", random.pick(LAST_EVENT_ID));
        }
        if random.one_in(4) {
            head += "Cache-Control: no-cache\r\nX-Accel-Buffering: yes\r\n";
        }
        head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        Self { bytes: head.into_bytes(), leaves: random.one_in(6) }
    }

    /// What is wrong with what comes of it.
    pub(crate) async fn run(&self, address: &str) -> Result<(), String> {
        let answer = exchange(address, &self.bytes, if self.leaves { WAIT / 100 } else { crate::PATIENCE }).await;
        let answer = Answer::read(&answer)?;
        let Some(answer) = answer.filter(|answer| answer.is("text/event-stream")) else { return Ok(()) };
        if answer.status != 200 {
            return Err(format!("events with status {}", answer.status));
        }
        if self.leaves { Ok(()) } else { whole(&answer.unchunked()?) }
    }
}

/// Events, each of them one line of JSON in ASCII; the last is an end.
fn whole(body: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.is_ascii()).ok_or("events that are not ASCII")?;
    let mut last = Value::Null;
    for event in text.strip_suffix("\n\n").ok_or("the last event has no end")?.split("\n\n") {
        let json = event.strip_prefix("data: ").ok_or_else(|| format!("{event:?} is no event"))?;
        last = serde_json::from_str(json).map_err(|e| format!("{json:?} is no JSON: {e}"))?;
    }
    let is_output = last["images"].is_array() && last["progress"].is_null();
    if is_output || last["status"] == "COMPLETED" { Ok(()) } else { Err(format!("{last} is no end")) }
}
