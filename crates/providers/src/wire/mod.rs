//! The way to a maker and back: one guarded client, keys for their own hosts alone, and a tape that can record and play.

mod body;
mod keys;
mod link;
mod tape;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scumble_fetch::{Config, Fetcher, HeaderMap, HeaderName, HeaderValue, Limits, Message, Method};
use tokio::time::Instant;

pub(crate) use body::{Body, Form};
pub(crate) use keys::Keys;
pub(crate) use link::{Base, Link, is_under};
#[cfg(feature = "fuzz")]
pub(crate) use tape::plays;
pub use tape::{Tape, TapeError};

/// Room for an answer with pictures in base64.
pub(crate) const ANSWER_MAX: u64 = 96 * 1024 * 1024;
/// Room for a picture.
pub(crate) const PICTURE_MAX: u64 = 64 * 1024 * 1024;

/// A question to a maker.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) link: Link,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Body,
    /// How many pictures are asked for, for limits that count them.
    pub(crate) pictures: u32,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Those that mean something here, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

/// Nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whether the maker may have got the question.
    pub(crate) sent: bool,
    /// Whether the same question may be answered a little later.
    pub(crate) passes: bool,
    /// Whether records answer here, and there is none of it: nobody was asked.
    pub(crate) unrecorded: bool,
    /// For the log.
    pub(crate) why: String,
}

/// The headers of answers that are read or recorded.
const HEADERS: &[&str] =
    &["content-type", "location", "retry-after", "x-fal-billable-units", "x-recraft-requestid", "x-request-id"];

/// The client of all makers.
pub(crate) struct Http {
    /// For addresses that the owner configured, private ones too.
    own: Fetcher,
    /// For addresses that a maker names.
    guarded: Fetcher,
    tape: Tape,
    keys: Keys,
}

impl Http {
    pub(crate) fn new(allow_private: bool, tape: Tape, keys: Keys) -> Arc<Self> {
        let fetcher = |allow_private| Fetcher::new(Config { allow_private, max_redirects: 3, ..Config::default() });
        Arc::new(Self { own: fetcher(true), guarded: fetcher(allow_private), tape, keys })
    }

    /// Everything that no log may hold.
    pub(crate) fn secrets(&self) -> &Keys {
        &self.keys
    }

    /// Whether answers come from records, so that no key is needed.
    pub(crate) fn is_replay(&self) -> bool {
        matches!(self.tape, Tape::Replay(_))
    }

    /// Asks once.
    pub(crate) async fn send(&self, ask: &Ask, deadline: Instant) -> Result<Answer, Lost> {
        if let Tape::Replay(player) = &self.tape {
            return player.answer(ask).map_err(unrecorded);
        }
        let (kind, body) = ask.body.bytes();
        let mut headers = ask.headers.clone();
        if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
            headers.push((HeaderName::from_static("content-type"), kind));
        }
        let time = deadline.saturating_duration_since(Instant::now());
        let limits = Limits { bytes: ANSWER_MAX, time };
        let method = ask.method.clone();
        let message = Message { method, url: &ask.link.url, headers: &headers, body, limits };
        let fetcher = if ask.link.own { &self.own } else { &self.guarded };
        let reply = fetcher.send(message).await;
        let reply = reply.map_err(|error| lost(&error))?;
        let answer = Answer { status: reply.status, headers: kept(&reply.headers), body: reply.body };
        self.keep(ask, &answer);
        Ok(answer)
    }

    /// Reads a file that a maker made, without a key. One attempt.
    pub(crate) async fn download(&self, url: &str, own: bool, time: Duration) -> Result<Answer, Lost> {
        let link = Link { url: url.to_owned(), own };
        let ask = Ask { method: Method::GET, link, headers: Vec::new(), body: Body::Empty, pictures: 0 };
        if let Tape::Replay(player) = &self.tape {
            return player.answer(&ask).map_err(unrecorded);
        }
        let fetcher = if own { &self.own } else { &self.guarded };
        let limits = Limits { bytes: PICTURE_MAX, time };
        let message = Message { method: Method::GET, url, headers: &[], body: Bytes::new(), limits };
        let reply = fetcher.send(message).await.map_err(|error| lost(&error))?;
        let answer = match reply.status {
            // no key goes along, so others may be asked
            301 | 302 | 303 | 307 | 308 => {
                let file = fetcher.get(url, limits).await.map_err(|error| lost(&error))?;
                let headers = file.content_type.map(|kind| ("content-type".to_owned(), kind)).into_iter().collect();
                Answer { status: 200, headers, body: file.bytes }
            }
            status => Answer { status, headers: kept(&reply.headers), body: reply.body },
        };
        self.keep(&ask, &answer);
        Ok(answer)
    }

    /// Asks for something that is no part of a call and that no record may hold, such as a token.
    pub(crate) async fn privately(&self, ask: &Ask, time: Duration) -> Result<Answer, Lost> {
        let (kind, body) = ask.body.bytes();
        let kind = kind.and_then(|kind| HeaderValue::from_str(&kind).ok());
        let headers: Vec<_> = kind.map(|kind| (HeaderName::from_static("content-type"), kind)).into_iter().collect();
        let limits = Limits { bytes: 1024 * 1024, time };
        let message = Message { method: ask.method.clone(), url: &ask.link.url, headers: &headers, body, limits };
        let reply = self.own.send(message).await;
        let reply = reply.map_err(|error| lost(&error))?;
        Ok(Answer { status: reply.status, headers: kept(&reply.headers), body: reply.body })
    }

    fn keep(&self, ask: &Ask, answer: &Answer) {
        if let Tape::Record(recorder) = &self.tape
            && let Err(error) = recorder.keep(ask, answer, &self.keys)
        {
            tracing::error!(%error, "an exchange with a maker could not be recorded");
        }
    }
}

fn lost(error: &scumble_fetch::Error) -> Lost {
    Lost { sent: error.was_sent(), passes: error.may_pass(), unrecorded: false, why: error.to_string() }
}

fn unrecorded(why: String) -> Lost {
    Lost { sent: false, passes: false, unrecorded: true, why }
}

fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let value = |name: &&str| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned()));
    HEADERS.iter().filter_map(value).collect()
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body, where it looks like JSON and is.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        let first = self.body.iter().find(|byte| !byte.is_ascii_whitespace())?;
        if !matches!(first, b'{' | b'[') {
            return None;
        }
        // counted like a caller's: whatever a maker answers, it is a few hundred values
        scumble_api::read_value(&self.body).ok()
    }

    /// The body as text, in small letters, for makers whose words have to be looked at.
    pub(crate) fn words(&self) -> String {
        let head = &self.body[..self.body.len().min(16 * 1024)];
        String::from_utf8_lossy(head).to_lowercase()
    }
}
