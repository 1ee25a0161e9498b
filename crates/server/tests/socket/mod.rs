//! A WebSocket as fal's clients use it.

#![allow(dead_code, reason = "each test file uses its part of this")]

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use scumble_testkit::server::TestServer;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// An open connection.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What came over it.
#[derive(Debug)]
pub(crate) enum Received {
    /// A binary message.
    Output(Output),
    /// A text message.
    Text(Value),
    /// The end, with its code.
    Closed(Option<u16>),
}

/// A result in MessagePack.
#[derive(Debug, Deserialize)]
pub(crate) struct Output {
    pub(crate) images: Vec<Picture>,
    pub(crate) prompt: String,
    pub(crate) seed: u64,
    pub(crate) request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Picture {
    pub(crate) content: Raw,
    pub(crate) url: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) content_type: String,
}

/// MessagePack's bytes: not a list of numbers.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Raw;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw, E> {
                Ok(Raw(bytes.to_vec()))
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

impl Socket {
    /// Opens one without credentials, or with what the path holds.
    pub(crate) async fn open(server: &TestServer, path: &str) -> Self {
        Self::try_open(server, path, None).await.expect("an open socket")
    }

    /// Opens one with these headers.
    pub(crate) async fn open_with(server: &TestServer, path: &str, headers: &[(&'static str, &str)]) -> Self {
        Self::attempt(server, path, headers).await.expect("an open socket")
    }

    /// Opens one, or gives the status of the refusal.
    pub(crate) async fn try_open(server: &TestServer, path: &str, key: Option<&str>) -> Result<Self, u16> {
        let key = key.map(|key| format!("Key {key}"));
        let headers: Vec<_> = key.iter().map(|key| ("authorization", key.as_str())).collect();
        Self::attempt(server, path, &headers).await
    }

    /// Opens one with these headers, or gives the status of the refusal.
    pub(crate) async fn attempt(
        server: &TestServer,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let url = format!("{}{path}", server.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(SocketError::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, input: &Value) {
        self.send_bytes(rmp_serde::to_vec_named(input).unwrap()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    /// The same where the server may close meanwhile.
    pub(crate) async fn try_send_text(&mut self, text: &str) -> Result<(), SocketError> {
        self.0.send(Message::Text(text.into())).await
    }

    /// Says goodbye.
    pub(crate) async fn close(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        self.0.send(Message::Close(Some(frame))).await.unwrap();
    }

    /// Until the server has read everything that was sent.
    pub(crate) async fn settled(&mut self) {
        self.0.send(Message::Ping(Vec::new().into())).await.unwrap();
        loop {
            match self.message().await {
                Some(Message::Pong(_)) => return,
                Some(Message::Ping(_)) => {}
                other => panic!("{other:?} instead of a pong"),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Received {
        loop {
            match self.message().await {
                Some(Message::Binary(bytes)) => return Received::Output(rmp_serde::from_slice(&bytes).unwrap()),
                Some(Message::Text(text)) => return Received::Text(serde_json::from_str(&text).unwrap()),
                Some(Message::Close(frame)) => return Received::Closed(frame.map(|f| f.code.into())),
                None => return Received::Closed(None),
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await;
        next.expect("something happens").map(|message| message.expect("no broken connection"))
    }

    pub(crate) async fn output(&mut self) -> Output {
        match self.next().await {
            Received::Output(output) => output,
            other => panic!("{other:?} instead of an output"),
        }
    }

    pub(crate) async fn text(&mut self) -> Value {
        match self.next().await {
            Received::Text(value) => value,
            other => panic!("{other:?} instead of text"),
        }
    }

    pub(crate) async fn closed(&mut self) -> Option<u16> {
        match self.next().await {
            Received::Closed(code) => code,
            other => panic!("{other:?} instead of the end"),
        }
    }
}
