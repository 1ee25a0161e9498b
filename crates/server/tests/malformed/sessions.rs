//! WebSocket sessions that go wrong: in their frames, or in what those hold. Every input gets its answer, every broken
//! session a close frame that says why.

use std::fmt;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::random::Random;
use crate::{STATUSES, WAIT};

const REALTIME: &[&str] =
    &["/run/scumble/starter/realtime", "/scumble/starter/realtime?max_buffering=60", "/run/scumble/starter"];
const HTTP_OVER_SOCKET: &str = "/ws/scumble/starter";

/// Codes with which the server ends a session: normal, protocol, no UTF-8, too large, too many inputs.
const CODES: &[u16] = &[1000, 1002, 1007, 1009, 1013];

/// What a session sends behind its handshake, and what has to come of it.
pub(crate) struct Session {
    path: &'static str,
    bytes: Vec<u8>,
    end: End,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By the caller, once so many inputs have their answers.
    Answered(usize),
    /// By the server: this is no WebSocket.
    Refused,
    /// By the caller, in the middle of a frame or with frames that may mean anything.
    HungUp,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, bytes, end } = self;
        write!(f, "{path} ({end:?}): {}", bytes[..bytes.len().min(1000)].escape_ascii())
    }
}

/// One frame, right or wrong.
struct Frame {
    /// FIN, the reserved bits, the opcode.
    first: u8,
    payload: Vec<u8>,
    masked: bool,
    /// How many bytes the length is written with, where that is not the fewest.
    wide: Option<u8>,
    /// What the frame says of its length, where that is not the truth.
    says: Option<u64>,
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const FIN: u8 = 0x80;

impl Frame {
    fn new(first: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { first, payload: payload.into(), masked: true, wide: None, says: None }
    }

    fn write(&self, random: &mut Random, to: &mut Vec<u8>) {
        let length = self.says.unwrap_or(self.payload.len() as u64);
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let width = self.wide.unwrap_or(match length {
            ..126 => 1,
            126..65_536 => 2,
            _ => 8,
        });
        to.push(self.first);
        match width {
            1 => to.push(mask_bit | (length as u8 & 0x7f)),
            2 => {
                to.push(mask_bit | 126);
                to.extend((length as u16).to_be_bytes());
            }
            _ => {
                to.push(mask_bit | 127);
                to.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            let mask = (random.next() as u32).to_be_bytes();
            to.extend(mask);
            to.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            to.extend(&self.payload);
        }
    }
}

impl Session {
    pub(crate) fn make(random: &mut Random) -> Self {
        let path = if random.one_in(4) { HTTP_OVER_SOCKET } else { random.pick(REALTIME) };
        let (mut bytes, mut inputs) = (Vec::new(), 0);
        for _ in 0..random.below(4) {
            inputs += 1;
            for frame in input(random) {
                frame.write(random, &mut bytes);
            }
        }
        let end = match random.below(8) {
            0..=2 => End::Answered(inputs),
            3..=5 => {
                for frame in wrong(random) {
                    frame.write(random, &mut bytes);
                }
                End::Refused
            }
            6 => {
                // a frame that promises more than comes
                let frame = Frame { says: Some(1 + random.next() % 60_000), ..Frame::new(TEXT, "") };
                frame.write(random, &mut bytes);
                bytes.truncate(bytes.len() - random.below(3));
                End::HungUp
            }
            _ => {
                bytes.extend(random.bytes(200));
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len().max(1));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.next() as u8;
                    }
                }
                End::HungUp
            }
        };
        Self { path, bytes, end }
    }

    /// What is wrong with what comes of it.
    pub(crate) async fn run(&self, address: &str) -> Result<(), String> {
        let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let handshake = format!(
            "GET {} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.path
        );
        stream.write_all(handshake.as_bytes()).await.map_err(|e| e.to_string())?;
        head(&mut stream).await?;
        // a server that has heard enough closes its end, which is no mistake
        let _ = stream.write_all(&self.bytes).await;
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        match self.end {
            End::Answered(inputs) => self.answered(&mut socket, inputs).await,
            End::Refused => refused(&mut socket).await,
            End::HungUp => hung_up(&mut socket).await,
        }
    }

    /// Each input has its answer in its coding, and the session is still there to be closed.
    async fn answered(&self, socket: &mut WebSocketStream<TcpStream>, inputs: usize) -> Result<(), String> {
        for _ in 0..inputs {
            if self.path == HTTP_OVER_SOCKET {
                let start = documented(&next(socket).await?)?;
                let status = start["status"].as_u64().and_then(|status| u16::try_from(status).ok());
                if start["type"] != "start" || !status.is_some_and(|status| STATUSES.contains(&status)) {
                    return Err(format!("no start: {start}"));
                }
                documented(&next(socket).await?)?;
                let end = documented(&next(socket).await?)?;
                if end["type"] != "end" {
                    return Err(format!("no end: {end}"));
                }
            } else if let Message::Text(text) = next(socket).await? {
                let answer = documented(&Message::Text(text))?;
                if answer["type"] != "x-fal-error" && !answer["images"].is_array() {
                    return Err(format!("neither a notice nor an output: {answer}"));
                }
            }
        }
        socket.send(Message::Close(None)).await.map_err(|e| format!("the session is gone: {e}"))?;
        match next(socket).await? {
            Message::Close(_) => Ok(()),
            other => Err(format!("{other:?} instead of the end")),
        }
    }
}

/// The server says why it ends the session, and ends it. Answers to what came before may come first.
async fn refused(socket: &mut WebSocketStream<TcpStream>) -> Result<(), String> {
    loop {
        match next(socket).await? {
            Message::Close(Some(frame)) if CODES.contains(&frame.code.into()) => return Ok(()),
            Message::Close(frame) => return Err(format!("an end without a documented code: {frame:?}")),
            Message::Text(text) => drop(documented(&Message::Text(text))?),
            _ => {}
        }
    }
}

/// Nothing is promised to a caller who hangs up, but what comes is a WebSocket's, and then it ends.
async fn hung_up(socket: &mut WebSocketStream<TcpStream>) -> Result<(), String> {
    let mut closing = false;
    loop {
        let patience = if closing { crate::PATIENCE } else { WAIT / 6 };
        match tokio::time::timeout(patience, socket.next()).await {
            Ok(Some(Ok(Message::Close(_))) | None) => return Ok(()),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed))) => return Ok(()),
            Ok(Some(Err(Error::Protocol(error)))) if error.to_string().contains("without closing") => return Ok(()),
            Ok(Some(Err(error))) => return Err(format!("what the server sends is no WebSocket: {error}")),
            Err(_) if closing => return Err("the server keeps a session whose caller has gone".into()),
            Err(_) => {
                let _ = socket.get_mut().shutdown().await;
                closing = true;
            }
        }
    }
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Result<Message, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => return Err(format!("no close frame: {error}")),
            None => return Err("the session ended without a close frame".into()),
        }
    }
}

/// The JSON of a message, text or binary.
fn documented(message: &Message) -> Result<Value, String> {
    let json = match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        other => return Err(format!("{other:?} instead of an answer")),
    };
    let value: Value = serde_json::from_slice(json).map_err(|e| format!("an answer that is no JSON: {e}"))?;
    let is_notice = value["type"] == "x-fal-error";
    if is_notice && !(value["error"].is_string() && value["reason"].is_string()) {
        return Err(format!("a notice without a reason: {value}"));
    }
    Ok(value)
}

/// The head of the answer to a handshake.
async fn head(stream: &mut TcpStream) -> Result<(), String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.map_err(|e| format!("no answer to the handshake: {e}"))?);
    }
    if head.starts_with(b"HTTP/1.1 101 ") { Ok(()) } else { Err(String::from_utf8_lossy(&head).into_owned()) }
}

/// What an input may hold: a picture's worth, nonsense, and what only looks like an input.
fn input(random: &mut Random) -> Vec<Frame> {
    let value = match random.below(10) {
        0 => json!({ "prompt": "x", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } }),
        1 => json!({ "prompt": "x", "num_inference_steps": 1e30, "image_size": { "width": -1, "height": 1e99 } }),
        2 => json!({ "prompt": null, "seed": -1, "request_id": { "a": [] } }),
        3 => json!({ "prompt": ["x"], "sync_mode": 2, "request_id": null }),
        4 => json!({ "prompt": "scumble-file:../../x", "image_size": "\u{0}" }),
        5 => json!([{ "prompt": "x" }]),
        6 => json!("prompt"),
        7 => (0..100).fold(json!(1), |inner, _| json!([inner])),
        8 => json!({ "prompt": (0..120).fold(json!(1), |inner, _| json!({ "a": inner })) }),
        _ => json!({}),
    };
    let text = random.one_in(2);
    let mut bytes = match text {
        true => value.to_string().into_bytes(),
        false => rmp_serde::to_vec_named(&value).unwrap_or_default(),
    };
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 if text => bytes = "[".repeat(random.below(20_000)).into_bytes(),
        1 => bytes = vec![0x91; random.below(20_000)],
        2 => bytes.extend(if text { b"}]".as_slice() } else { b"\xc1\xdd\xff\xff\xff\xff" }),
        3 if !text => bytes = random.bytes(100),
        4 if !text => bytes = [&b"\x81\xa6prompt"[..], pick_bytes(random)].concat(),
        _ => {}
    }
    pieces(random, if text { TEXT } else { BINARY }, &bytes)
}

/// Values that MessagePack has and JSON has not, and lengths that are not true.
fn pick_bytes(random: &mut Random) -> &'static [u8] {
    const VALUES: [&[u8]; 8] = [
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xc6\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xa2\xff\xfe",
        b"\xc4\x03abc",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    VALUES[random.below(VALUES.len())]
}

/// A message in one frame or in several, with a ping between them now and then.
fn pieces(random: &mut Random, first: u8, bytes: &[u8]) -> Vec<Frame> {
    if !random.one_in(4) {
        return vec![Frame::new(first, bytes)];
    }
    let (head, tail) = bytes.split_at(random.below(bytes.len() + 1));
    let mut frames = vec![Frame::new(first & !FIN, head), Frame::new(FIN, tail)];
    if random.one_in(2) {
        frames.insert(1, Frame::new(0, ""));
    }
    if random.one_in(2) {
        frames.insert(1, Frame::new(PING, random.bytes(125)));
    }
    frames
}

/// Frames that no WebSocket has.
fn wrong(random: &mut Random) -> Vec<Frame> {
    let one = |frame: Frame| vec![frame];
    match random.below(16) {
        0 => one(Frame::new(FIN | random.pick(&[&3_u8, &4, &5, &6, &7, &11, &12, &13, &14, &15]), "x")),
        1 => one(Frame { masked: false, ..Frame::new(TEXT, "{}") }),
        2 => one(Frame::new(TEXT | random.pick(&[&0x10_u8, &0x20, &0x40, &0x70]), "{}")),
        // control frames in pieces, and too long
        3 => one(Frame::new(PING & !FIN, "x")),
        4 => one(Frame::new(CLOSE & !FIN, "")),
        5 => one(Frame::new(PING, vec![b'x'; 126 + random.below(1000)])),
        6 => one(Frame::new(CLOSE, vec![b'x'; 126])),
        // the end of something that has no beginning, and a beginning within another
        7 => one(Frame::new(FIN, "x")),
        8 => vec![Frame::new(TEXT & !FIN, "x"), Frame::new(TEXT, "y")],
        // text that is no UTF-8, at once or torn in the middle of a letter
        9 => one(Frame::new(TEXT, &b"{\"prompt\":\"\xff\xfe\"}"[..])),
        10 => vec![Frame::new(TEXT & !FIN, &b"\"\xc3"[..]), Frame::new(FIN, &b"\"\""[..])],
        11 => one(Frame::new(TEXT, &b"\xed\xa0\x80"[..])),
        // ends that say nothing, or what nobody may say
        12 => one(Frame::new(CLOSE, "x")),
        13 => {
            one(Frame::new(CLOSE, random.pick(&[&999_u16, &1004, &1005, &1006, &1015, &2999, &5000, &0]).to_be_bytes()))
        }
        14 => one(Frame::new(CLOSE, &b"\x03\xe8\xff\xff"[..])),
        // more than the server takes, or anybody
        _ => {
            let says = *random.pick(&[&65_537_u64, &0xffff_ffff, &(u64::MAX >> 1), &u64::MAX]);
            one(Frame { says: Some(says), wide: Some(8), ..Frame::new(BINARY, "x") })
        }
    }
}
