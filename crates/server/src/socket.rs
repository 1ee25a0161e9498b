//! WebSockets whose messages are counted while they come in.
//!
//! A message is put together in memory before anybody sees it. So what is read from the connection is counted there, and
//! draws on the process's budget of bytes until the message has been answered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::Request;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use scumble_fetch::{Budget, Exhausted, Share};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::{Role, WebSocketConfig};

use crate::held::{FREE, TIMES};

/// Room for what comes and goes of each connection; more of a message has room of its own while it is there.
const BUFFER: usize = 16 * 1024;

/// A connection on which messages come and go.
pub(crate) type Socket<S> = WebSocketStream<Counted<S>>;

/// A request for a WebSocket.
pub(crate) struct Upgrade {
    handshake: WebSocketUpgrade,
    connection: OnUpgrade,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        // axum checks the handshake and answers it; it hands sockets out in a wrapper that hides the connection, so the
        // connection is kept here, and what it gets instead leads nowhere
        let nowhere = hyper::upgrade::on(Request::new(()));
        let connection = match parts.extensions.get_mut::<OnUpgrade>() {
            Some(there) => std::mem::replace(there, nowhere),
            None => nowhere,
        };
        let handshake =
            WebSocketUpgrade::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self { handshake, connection })
    }
}

impl Upgrade {
    /// Agrees, and lets `serve` have the connection; no message may be longer than `max` bytes.
    pub(crate) fn open<F: Future<Output = ()> + Send + 'static>(
        self,
        budget: &Budget,
        max: usize,
        serve: impl FnOnce(Socket<TokioIo<hyper::upgrade::Upgraded>>) -> F + Send + 'static,
    ) -> Response {
        let (connection, share) = (self.connection, budget.share());
        tokio::spawn(async move {
            // who goes away before the answer is here wants nothing any more
            if let Ok(upgraded) = connection.await {
                serve(socket(TokioIo::new(upgraded), share, max).await).await;
            }
        });
        self.handshake.on_upgrade(|_| std::future::ready(()))
    }
}

/// The server's side of a connection that was agreed upon.
pub(crate) async fn socket<S: AsyncRead + AsyncWrite + Unpin>(connection: S, share: Share, max: usize) -> Socket<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    let counted = Counted { connection, share, read: 0 };
    WebSocketStream::from_raw_socket(counted, Role::Server, Some(config)).await
}

/// A connection of whose bytes account is kept.
pub(crate) struct Counted<S> {
    connection: S,
    /// Of what has come since the last message.
    share: Share,
    read: u64,
}

impl<S> Counted<S> {
    /// The share of a message that has come whole; counting begins anew.
    pub(crate) fn settle(&mut self) -> Share {
        self.read = 0;
        let next = self.share.budget().share();
        std::mem::replace(&mut self.share, next)
    }
}

/// Whether a connection ended because there was no room for what came.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Exhausted>)
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { connection, share, read } = &mut *self;
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(connection).poll_read(context, buffer))?;
        *read += (buffer.filled().len() - before) as u64;
        Poll::Ready(share.grow(read.saturating_sub(FREE).saturating_mul(TIMES)).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}
