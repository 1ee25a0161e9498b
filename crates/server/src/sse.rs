//! Server-sent events as fal's clients read them.
//!
//! Every event is one JSON value in one chunk, and pure ASCII: the JavaScript client decodes each chunk on its own, so
//! a character of several bytes that is split between two chunks would be lost. There is no end marker: clients parse
//! every event as JSON, and the stream ends by closing.

use std::io;
use std::time::Duration;

use axum::BoxError;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
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

/// An answer of events. An error among them breaks the connection, because nothing else can be said any more.
pub(crate) fn response(events: impl Stream<Item = io::Result<Event>> + Send + 'static) -> Response {
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENTS));
    let mut response = sse.into_response();
    response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
    response
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
