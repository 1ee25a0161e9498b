//! A WebSocket on which inputs come in and answers go out: one at a time, in order, one answer each.
//!
//! Inputs wait in a bounded buffer while one is answered, and hold their share of the process's budget of bytes until then. A caller who goes away drops the answer in the making, which
//! cancels its job. A session that hears nothing for a while is closed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::socket::{Socket, is_exhausted};
use crate::stop::{Phase, Phases};

/// A caller who does not take an answer for this long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two pings, which keep proxies from closing a connection on which a job runs quietly.
const PINGS: Duration = Duration::from_secs(15);
/// How long to wait for the other side to agree to the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// One message of the caller.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Binary messages are MessagePack, text is JSON.
    pub(crate) is_text: bool,
    pub(crate) bytes: Bytes,
}

/// What an input gets.
pub(crate) struct Answer {
    pub(crate) messages: Vec<Message>,
    /// Whether the session ends with it.
    pub(crate) is_last: bool,
}

/// An answer in the making.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How a session goes.
pub(crate) struct Rules {
    /// How many inputs may wait.
    pub(crate) waiting: usize,
    /// How many bytes of input may wait.
    pub(crate) bytes: usize,
    /// What happens to what is too much.
    pub(crate) overflow: Overflow,
    /// How long a session stays open without a word.
    pub(crate) idle: Duration,
    /// What is said when it ends for that reason, or because the server stops: clients connect anew with their next input.
    pub(crate) farewell: Option<Message>,
    /// Tells when the server stops.
    pub(crate) phases: Phases,
}

/// What happens when more inputs wait than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The oldest is forgotten: only the latest is of interest.
    DropOldest,
    /// The session ends: every input must get its answer.
    Close,
}

/// Answers inputs until the caller has had enough.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: Socket<S>,
    mut rules: Rules,
    answer: impl Fn(Input) -> Answering,
) {
    let mut waiting = Waiting::default();
    let mut answering: Option<Answering> = None;
    let mut pings = tokio::time::interval_at(Instant::now() + PINGS, PINGS);
    let mut quiet_since = Instant::now();
    loop {
        if answering.is_none() {
            answering = waiting.pop().map(&answer);
        }
        if answering.is_none() && rules.phases.now() > Phase::Serving {
            send(&mut socket, rules.farewell.into_iter().collect()).await;
            return close(socket, CloseCode::Normal, "the server stops").await;
        }
        tokio::select! {
            received = socket.next() => match received {
                Some(Ok(Message::Binary(bytes))) => {
                    waiting.push(Input { is_text: false, bytes: socket.get_mut().settle().hold(bytes) });
                }
                Some(Ok(Message::Text(text))) => {
                    waiting.push(Input { is_text: true, bytes: socket.get_mut().settle().hold(text.into()) });
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                    drop(socket.get_mut().settle());
                    continue;
                }
                Some(Ok(Message::Close(_))) => {
                    drop(answering.take());
                    return agree(&mut socket).await;
                }
                None => return,
                Some(Err(error)) => {
                    drop(answering.take());
                    return refuse(socket, error).await;
                }
            },
            Answer { messages, is_last } = made(&mut answering) => {
                answering = None;
                if !send(&mut socket, messages).await {
                    return;
                }
                if is_last {
                    return close(socket, CloseCode::Normal, "").await;
                }
            }
            () = rules.phases.changed() => continue,
            _ = pings.tick(), if answering.is_some() => {
                if !send(&mut socket, vec![Message::Ping(Bytes::new())]).await {
                    return;
                }
                continue;
            }
            () = tokio::time::sleep_until(quiet_since + rules.idle), if answering.is_none() => {
                send(&mut socket, rules.farewell.into_iter().collect()).await;
                return close(socket, CloseCode::Normal, "no inputs").await;
            }
        }
        quiet_since = Instant::now();
        if waiting.is_beyond(&rules, answering.is_some()) {
            match rules.overflow {
                Overflow::DropOldest => waiting.drop_oldest(&rules),
                Overflow::Close => return close(socket, CloseCode::Again, "too many inputs wait").await,
            }
        }
    }
}

async fn made(answering: &mut Option<Answering>) -> Answer {
    match answering {
        Some(answering) => answering.await,
        None => std::future::pending().await,
    }
}

/// Whether the other side took it all.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, messages: Vec<Message>) -> bool {
    for message in messages {
        if !matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(()))) {
            return false;
        }
    }
    true
}

/// A connection that cannot go on, because of a message that is too large or none at all, or for want of room.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: Socket<S>, error: tungstenite::Error) {
    use tungstenite::Error;
    // what was begun is not put together any more
    drop(socket.get_mut().settle());
    match error {
        Error::Io(error) if is_exhausted(&error) => {
            close(socket, CloseCode::Again, "the memory of the server is taken; try again in some seconds").await;
        }
        Error::Capacity(_) => close(socket, CloseCode::Size, "a message is too large for this server").await,
        Error::Utf8(_) => close(socket, CloseCode::Invalid, "text that is not UTF-8").await,
        _ => close(socket, CloseCode::Protocol, "not what a WebSocket carries").await,
    }
}

/// Ends a session as the protocol asks: say so, and let the other side agree.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut socket: Socket<S>, code: CloseCode, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    if send(&mut socket, vec![Message::Close(Some(frame))]).await {
        agree(&mut socket).await;
    }
}

/// Reads to the end. An answer to the other side's goodbye goes out with that; without it a browser calls the
/// connection broken.
async fn agree<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) {
    let rest = async {
        while let Some(Ok(_)) = socket.next().await {
            drop(socket.get_mut().settle());
        }
    };
    let _ = timeout(GOODBYE, rest).await;
}

/// Inputs that wait for their turn.
#[derive(Default)]
struct Waiting {
    inputs: VecDeque<Input>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, input: Input) {
        self.bytes += input.bytes.len();
        self.inputs.push_back(input);
    }

    fn pop(&mut self) -> Option<Input> {
        let input = self.inputs.pop_front()?;
        self.bytes -= input.bytes.len();
        Some(input)
    }

    /// Whether more wait than may. One that is about to be answered does not wait.
    fn is_beyond(&self, rules: &Rules, busy: bool) -> bool {
        busy && (self.inputs.len() > rules.waiting || (self.bytes > rules.bytes && self.inputs.len() > 1))
    }

    fn drop_oldest(&mut self, rules: &Rules) {
        while self.is_beyond(rules, true) {
            self.pop();
        }
    }
}
