//! Bodies that come packed (`Content-Encoding: gzip`): unpacked as they are read, so that every limit holds for what
//! comes out of them.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::write::MultiGzDecoder;
use hyper::body::Frame;

use crate::answer::Refusal;

/// How much is unpacked in one go. At the most it becomes a thousand times as much.
const PIECE: usize = 1024;

/// How much may come packed beyond what comes out of it. Honest gzip grows by a few bytes in a thousand; what is made of
/// empty members or of an endless name would keep a reader busy for nothing, whatever limit holds for what comes out.
const SURPLUS: u64 = 64 * 1024;

/// Unpacks the body of a request that says that it is packed.
pub(crate) async fn unpack(mut request: Request, next: Next) -> Response {
    match coding(request.headers()) {
        Coding::None => return next.run(request).await,
        Coding::Unknown => {
            let detail = "Content-Encoding: this server takes bodies as they are, or packed once with gzip";
            return Refusal::plain(415, detail).with("accept-encoding", "gzip, identity").into_response();
        }
        Coding::Gzip => {}
    }
    for packed in [header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        request.headers_mut().remove(packed);
    }
    let is_broken = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| Body::new(Unpacked::new(body, is_broken.clone())));
    let response = next.run(request).await;
    // whoever has read it knows only that something is wrong with it
    if is_broken.load(Ordering::Relaxed) && !response.status().is_success() {
        return Refusal::plain(
            400,
            "Content-Encoding says gzip, but the body cannot be unpacked: it is damaged, cut off, or unpacks to almost \
             nothing",
        )
        .into_response();
    }
    response
}

enum Coding {
    None,
    Gzip,
    Unknown,
}

fn coding(headers: &HeaderMap) -> Coding {
    let words = |value: &HeaderValue| -> Vec<String> {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.split(',').map(|word| word.trim().to_owned()).collect()
    };
    let mut words: Vec<String> = headers.get_all(header::CONTENT_ENCODING).iter().flat_map(words).collect();
    words.retain(|word| !word.is_empty() && word != "identity");
    match words.as_slice() {
        [] => Coding::None,
        [one] if one == "gzip" || one == "x-gzip" => Coding::Gzip,
        _ => Coding::Unknown,
    }
}

/// A gzip body, unpacked.
struct Unpacked {
    body: Body,
    /// What has come and is not unpacked yet.
    packed: Bytes,
    /// Bytes that were unpacked, and bytes that came out of them.
    spent: u64,
    gained: u64,
    /// `None` after the end.
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    is_broken: Arc<AtomicBool>,
}

impl Unpacked {
    fn new(body: Body, is_broken: Arc<AtomicBool>) -> Self {
        let decoder = Some(MultiGzDecoder::new(Vec::new()));
        Self { body, packed: Bytes::new(), spent: 0, gained: 0, decoder, is_broken }
    }

    /// Unpacks a piece of what is here.
    fn piece(&mut self) -> io::Result<Bytes> {
        let Some(decoder) = &mut self.decoder else { return Ok(Bytes::new()) };
        let piece = self.packed.split_to(PIECE.min(self.packed.len()));
        decoder.write_all(&piece)?;
        let unpacked = std::mem::take(decoder.get_mut());
        self.spent += piece.len() as u64;
        self.gained += unpacked.len() as u64;
        if self.spent > self.gained + self.gained / 8 + SURPLUS {
            return Err(io::Error::other("less comes out of the body than goes into it"));
        }
        Ok(unpacked.into())
    }

    /// What is left in the decoder. A body that was cut off is an error here.
    fn end(&mut self) -> io::Result<Bytes> {
        match self.decoder.take() {
            Some(decoder) => decoder.finish().map(Bytes::from),
            None => Ok(Bytes::new()),
        }
    }

    fn broken(&mut self, error: io::Error) -> BoxError {
        self.is_broken.store(true, Ordering::Relaxed);
        self.decoder = None;
        error.into()
    }
}

impl HttpBody for Unpacked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if this.decoder.is_none() {
                return Poll::Ready(None);
            }
            let (unpacked, is_last) = if this.packed.is_empty() {
                match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                    Some(Ok(frame)) => {
                        this.packed = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    None => (this.end(), true),
                }
            } else {
                (this.piece(), false)
            };
            return match unpacked {
                Ok(bytes) if bytes.is_empty() && is_last => Poll::Ready(None),
                Ok(bytes) if bytes.is_empty() => continue,
                Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(error) => Poll::Ready(Some(Err(this.broken(error)))),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding_of(lines: &[&'static str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(line));
        }
        match coding(&headers) {
            Coding::None => "none",
            Coding::Gzip => "gzip",
            Coding::Unknown => "unknown",
        }
    }

    /// What comes out of a body before it ends or breaks off, and whether it breaks off.
    async fn unpacked(packed: Vec<u8>) -> (usize, bool) {
        let mut body = Unpacked::new(Body::from(packed), Arc::default());
        let mut bytes = 0;
        loop {
            match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => return (bytes, true),
                None => return (bytes, false),
            }
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("room");
        encoder.finish().expect("room")
    }

    #[tokio::test]
    async fn what_gives_nothing_is_not_read_for_ever() {
        assert_eq!(unpacked(gzip(b"").repeat(100_000)).await, (0, true), "two million bytes of nothing");
        let mut endless_name = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        endless_name.extend(vec![b'a'; 200_000]);
        assert_eq!(unpacked(endless_name).await, (0, true));
        // what cannot be packed, in many members, is honest
        let noise: Vec<u8> = (0..60_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        assert_eq!(unpacked(gzip(&noise).repeat(50)).await, (60_000 * 50, false));
    }

    #[test]
    fn codings_are_known_or_refused() {
        for (lines, expected) in [
            (&[][..], "none"),
            (&["identity"], "none"),
            (&["", "identity"], "none"),
            (&["gzip"], "gzip"),
            (&["GZIP"], "gzip"),
            (&["x-gzip, identity"], "gzip"),
            (&["gzip, gzip"], "unknown"),
            (&["gzip", "gzip"], "unknown"),
            (&["br"], "unknown"),
            (&["deflate"], "unknown"),
        ] {
            assert_eq!(coding_of(lines), expected, "{lines:?}");
        }
    }
}
