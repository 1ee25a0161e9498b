//! Server-sent events as fal's clients read them.
//!
//! Every event is one JSON value in one chunk, and pure ASCII: the JavaScript client decodes each chunk on its own, so
//! a character of several bytes that is split between two chunks would be lost. There is no end marker: clients parse
//! every event as JSON, and the stream ends by closing.

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
pub(crate) fn event(value: &impl Serialize) -> serde_json::Result<Event> {
    Ok(Event::default().data(ascii(&serde_json::to_string(value)?)))
}

/// An answer of events. An error among them breaks the connection, because nothing else can be said any more.
pub(crate) fn response<E: Into<BoxError>>(events: impl Stream<Item = Result<Event, E>> + Send + 'static) -> Response {
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENTS));
    let mut response = sse.into_response();
    response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The same JSON with everything beyond ASCII as `\uXXXX`. Such characters stand only inside of strings.
fn ascii(json: &str) -> String {
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
