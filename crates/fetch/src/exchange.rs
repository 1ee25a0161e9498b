//! One request and its answer, on a connection of their own.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::budget::Share;
use crate::connect::Stream;
use crate::target::host;
use crate::{Error, Result};

/// Room for the head of an answer.
const HEAD_MAX: usize = 64 * 1024;

/// How long a file waits for room.
const ROOM: Duration = Duration::from_secs(5);

/// An answer whose head has come. Dropping it closes the connection.
pub(crate) struct Exchange {
    host: String,
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Exchange {
    /// Sends a request and waits up to `patience` for the head of the answer.
    pub(crate) async fn begin(
        url: &Url,
        stream: Box<dyn Stream>,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Self> {
        let asked = async {
            let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream));
            let (mut sender, connection) = handshake.await?;
            // what is wrong with the connection is told to whoever reads from it
            let connection = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
            Ok((sender.send_request(request).await?, connection))
        };
        match timeout(patience, asked).await {
            Ok(Ok((response, connection))) => Ok(Self { host: host(url), response, _connection: connection }),
            Ok(Err(error)) => Err(broken(&host(url), &error)),
            Err(_) => Err(Error::TooSlow { host: host(url), doing: "to answer", limit: patience }),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The body, as long as it is no longer than `max` and no pause in it longer than `patience`, and there is room for it.
    pub(crate) async fn body(self, max: u64, patience: Duration, mut room: Option<Share>) -> Result<Bytes> {
        let mut body = self.into_body(max, patience)?;
        // one that says how long it is never moves while it grows
        let announced = body.length().and_then(|length| usize::try_from(length).ok());
        let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0));
        while let Some(piece) = body.next().await? {
            if let Some(room) = &mut room {
                let wanted = (bytes.len() + piece.len()) as u64;
                room.wait_for(wanted, ROOM).await.map_err(|_| Error::Busy)?;
            }
            bytes.extend_from_slice(&piece);
        }
        let bytes = bytes.freeze();
        Ok(match room {
            Some(room) => room.hold(bytes),
            None => bytes,
        })
    }

    /// The same piece by piece.
    pub(crate) fn into_body(self, max: u64, patience: Duration) -> Result<Body> {
        self.refuse_encoded()?;
        let Self { host, response, _connection } = self;
        let body = response.into_body();
        // what is announced is believed where it is too much; what comes is counted all the same
        if hyper::body::Body::size_hint(&body).lower() > max {
            return Err(Error::TooLarge { max });
        }
        Ok(Body { host, body, max, come: 0, patience, _connection })
    }

    /// Compressed bytes would have to be unpacked under a limit of their own; they were not asked for.
    fn refuse_encoded(&self) -> Result<()> {
        let encoding = self.response.headers().get(CONTENT_ENCODING).map(|e| String::from_utf8_lossy(e.as_bytes()));
        match encoding {
            Some(encoding) if !encoding.trim().is_empty() && !encoding.trim().eq_ignore_ascii_case("identity") => {
                let encoding = encoding.chars().take(32).collect();
                Err(Error::Encoded { host: self.host.clone(), encoding })
            }
            _ => Ok(()),
        }
    }
}

/// A body on its way. Dropping it closes the connection.
pub(crate) struct Body {
    host: String,
    body: Incoming,
    max: u64,
    /// Bytes so far.
    come: u64,
    patience: Duration,
    _connection: AbortOnDropHandle<()>,
}

impl Body {
    /// How long it is, where that was announced.
    pub(crate) fn length(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.body).exact()
    }

    /// The next piece; `None` once all of it has come.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = match timeout(self.patience, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|e| broken(&self.host, &e))?,
                Ok(None) => return Ok(None),
                Err(_) => {
                    let (host, limit) = (self.host.clone(), self.patience);
                    return Err(Error::TooSlow { host, doing: "to send more of the file", limit });
                }
            };
            let Ok(piece) = frame.into_data() else { continue };
            self.come += piece.len() as u64;
            if self.come > self.max {
                return Err(Error::TooLarge { max: self.max });
            }
            return Ok(Some(piece));
        }
    }
}

fn broken(host: &str, error: &hyper::Error) -> Error {
    let reason = if error.is_incomplete_message() {
        "the connection was closed too early"
    } else if error.is_parse_too_large() {
        "its headers are too large"
    } else if error.is_parse() {
        "it cannot be read"
    } else {
        "the connection failed"
    };
    Error::Protocol { host: host.to_owned(), reason: reason.to_owned() }
}
