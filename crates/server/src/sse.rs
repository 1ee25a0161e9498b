//! Server-sent events as fal's clients read them.
//!
//! Every event is one JSON value in one chunk, and pure ASCII: the JavaScript client decodes each chunk on its own, so
//! a character of several bytes that is split between two chunks would be lost. There is no end marker: clients parse
//! every event as JSON, and the stream ends by closing. Older ones stop reading the moment it does, though events are
//! still unread (JavaScript's before 1.3), so it stays open until they can have read them.

use std::io;
use std::time::{Duration, Instant};

use axum::BoxError;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use futures::{Stream, StreamExt};
use serde::Serialize;

/// Pause between comment lines, which keep proxies from closing a quiet connection.
const COMMENTS: Duration = Duration::from_secs(15);

/// nginx collects what passes through it, unless it is told not to.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An event that holds this value.
pub(crate) fn event(value: &impl Serialize) -> io::Result<Event> {
    let json = serde_json::to_string(value).map_err(broken)?;
    Ok(Event::default().data(ascii(&json)))
}

/// How long the old JavaScript clients take for an event: they look for one every 16 ms.
const READING: Duration = Duration::from_millis(25);

/// How long a stream stays open after everything can have been read…
const MARGIN: Duration = Duration::from_millis(100);

/// …and at most after its last event.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// An answer of events. An error among them breaks the connection, because nothing else can be said any more.
pub(crate) fn response(events: impl Stream<Item = io::Result<Event>> + Send + 'static) -> Response {
    let sse = Sse::new(held_open(events)).keep_alive(KeepAlive::new().interval(COMMENTS));
    let mut response = sse.into_response();
    response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The same events, and no end until a slow reader can have read them.
fn held_open(events: impl Stream<Item = io::Result<Event>> + Send + 'static) -> impl Stream<Item = io::Result<Event>> {
    let start = (events.boxed(), Reader { done: Instant::now() });
    stream::unfold(start, |(mut events, reader)| async move {
        match events.next().await {
            Some(event) => Some((event, (events, reader.sent(Instant::now())))),
            None => {
                // whatever made them is done
                drop(events);
                tokio::time::sleep(reader.hold(Instant::now())).await;
                None
            }
        }
    })
}

/// A reader who takes its time for each event.
struct Reader {
    /// When it has read everything that was sent.
    done: Instant,
}

impl Reader {
    fn sent(self, now: Instant) -> Self {
        Self { done: self.done.max(now) + READING }
    }

    /// How long to wait for it.
    fn hold(self, now: Instant) -> Duration {
        (self.done + MARGIN).saturating_duration_since(now).min(HOLD_MAX)
    }
}

/// What breaks a stream off. The caller only sees the connection break; the log says why.
pub(crate) fn broken(why: impl Into<BoxError>) -> io::Error {
    let error = io::Error::other(why);
    tracing::warn!(%error, "a stream breaks off");
    error
}

/// The same JSON with everything beyond ASCII as `\uXXXX`. Such characters stand only inside of strings.
pub(crate) fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_stays_open_as_long_as_its_last_events_take_to_be_read() {
        let start = Instant::now();
        for (burst, hold_ms) in [(0, 100), (1, 125), (20, 600), (1000, 5000)] {
            let reader = (0..burst).fold(Reader { done: start }, |reader, _| reader.sent(start));
            assert_eq!(reader.hold(start).as_millis(), hold_ms, "{burst} events");
        }
        // what came long ago has been read
        let slow = (0..20).map(|n| start + Duration::from_millis(30 * n));
        let reader = slow.fold(Reader { done: start }, Reader::sent);
        assert_eq!(reader.hold(start + Duration::from_millis(30 * 19)).as_millis(), 125);
    }

    #[test]
    fn json_survives_as_ascii() {
        for text in ["", "plain", "é", "日本 🌟 \u{7f}\u{80}\u{ffff}", "\"\\\n"] {
            let json = serde_json::to_string(text).expect("JSON");
            let escaped = ascii(&json);
            assert!(escaped.is_ascii(), "{escaped}");
            assert_eq!(serde_json::from_str::<String>(&escaped).expect("JSON"), text);
        }
        assert_eq!(ascii("\"é🌟\""), "\"\\u00e9\\ud83c\\udf1f\"");
    }
}
