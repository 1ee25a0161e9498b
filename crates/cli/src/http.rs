//! HTTP/1.1 as small as measuring needs it: a request is built once and sent often, and an answer is its status and its
//! body. A general client would cost more than the server that is measured.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};

use crate::failure::Failure;

/// Longest answer that is read. Nothing that is measured here comes near it.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
const HEADERS: usize = 64;

/// A server, and how requests name it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    address: SocketAddr,
    authority: String,
    prefix: String,
    key: Option<String>,
}

impl Place {
    /// The server of an `http://` URL; a path in it goes before every request's.
    pub(crate) async fn read(url: &str, key: Option<&str>) -> Result<Self, Failure> {
        let wrong = |problem: &str| Failure::Usage(format!("{url}: {problem}"));
        let uri: axum::http::Uri = url.parse().map_err(|_| wrong("this is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("expected http://HOST:PORT; the server is measured without TLS"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let (host, port) = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
        let mut addresses = lookup_host((host, port)).await.map_err(|e| Failure::System(format!("{url}: {e}")))?;
        let address =
            addresses.next().ok_or_else(|| Failure::System(format!("{url}: the address of its host is not known")))?;
        if key.is_some_and(|key| !key.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Failure::Usage("a key is one word of visible ASCII characters".into()));
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { address, authority: authority.to_string(), prefix, key: key.map(str::to_owned) })
    }

    /// The server that listens on this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, authority: address.to_string(), prefix: String::new(), key: None }
    }

    /// The bytes of a request.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
        let mut text = format!("{method} {}{path} HTTP/1.1\r\nhost: {}\r\n", self.prefix, self.authority);
        if let Some(key) = &self.key {
            text += &format!("authorization: Key {key}\r\n");
        }
        match body.map(Value::to_string) {
            None => text += "\r\n",
            Some(json) => {
                text += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
            }
        }
        text.into_bytes()
    }
}

/// An answer, as long as its connection is not used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The body, read as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> std::io::Result<T> {
        serde_json::from_slice(self.body).map_err(|e| broken(format!("{e} in {}", self.text())))
    }

    /// The body's beginning, for messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).into_owned()
    }
}

/// One connection, used for one request after the other.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The server said that it closes the connection after this answer.
    last: bool,
}

impl Connection {
    pub(crate) async fn open(place: &Place) -> std::io::Result<Self> {
        let stream = connect(place.address).await?;
        Ok(Self { address: place.address, stream, buffer: Vec::with_capacity(16 * 1024), last: false })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer<'_>> {
        if self.last {
            self.stream = connect(self.address).await?;
        }
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            self.read_more().await?;
            if let Some(head) = Head::of(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < head.bytes + head.body_bytes {
            self.read_more().await?;
        }
        self.last = head.last;
        Ok(Answer { status: head.status, body: &self.buffer[head.bytes..head.bytes + head.body_bytes] })
    }

    async fn read_more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ if self.buffer.len() > ANSWER_BYTES => Err(broken("the answer is too long")),
            _ => Ok(()),
        }
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    last: bool,
}

impl Head {
    /// `None` as long as it is not all there.
    fn of(bytes: &[u8]) -> std::io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes).map_err(broken)? else { return Ok(None) };
        let mut head = Self { status: response.code.unwrap_or(0), bytes: length, body_bytes: 0, last: false };
        for header in response.headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(header.value).map_err(broken)?;
                head.body_bytes = text.trim().parse().map_err(broken)?;
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(broken("the answer has no length; streamed answers are not measured"));
            } else if header.name.eq_ignore_ascii_case("connection") {
                head.last = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        if head.body_bytes > ANSWER_BYTES {
            return Err(broken("the answer is too long"));
        }
        Ok(Some(head))
    }
}

fn broken(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_when_they_are_whole() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\nconnection: close\r\n\r\nabc";
        for end in 0..whole.len() - 3 {
            assert!(Head::of(&whole[..end]).expect("readable").is_none(), "{end}");
        }
        let head = Head::of(whole).expect("readable").expect("whole");
        assert_eq!((head.status, head.bytes, head.body_bytes, head.last), (202, whole.len() - 3, 3, true));
        for bad in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "no",
        ] {
            assert!(Head::of(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
