//! One connection: plain or TLS, then requests until somebody closes it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::Listening;
use super::patience::Patient;
use crate::addressing::Scheme;
use crate::forwarded::Peer;

/// Every TLS connection begins with a handshake record; no HTTP method begins with this byte.
const HANDSHAKE: u8 = 0x16;

/// What serving one connection needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    router: Router,
    pub(super) how: Arc<Listening>,
    /// Everything that is open, to be waited for at the end.
    pub(super) open: TaskTracker,
    closing: CancellationToken,
    /// Its place among the connections that may be open, held until the last of its clones is gone; so a tunnel keeps
    /// it.
    _slot: Option<Arc<OwnedSemaphorePermit>>,
    /// Whether it runs inside another one.
    pub(super) tunnelled: bool,
    /// Who has opened it.
    peer: Option<Peer>,
}

impl Connection {
    pub(super) fn new(router: Router, how: Arc<Listening>, open: TaskTracker, closing: CancellationToken) -> Self {
        Self { router, how, open, closing, _slot: None, tunnelled: false, peer: None }
    }

    /// A connection in a place of its own.
    pub(super) fn in_slot(&self, slot: OwnedSemaphorePermit) -> Self {
        Self { _slot: Some(Arc::new(slot)), ..self.clone() }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(mut self, stream: TcpStream) {
        self.peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
        // answers are written at once; waiting for more to send would only delay them
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not available");
        }
        let Some(tls) = self.how.tls.clone() else { return self.requests(stream, Scheme::Http).await };
        match self.in_time(first_byte(&stream)).await {
            Some(Ok(HANDSHAKE)) => self.secure(stream, tls).await,
            Some(Ok(_)) => self.requests(stream, Scheme::Http).await,
            Some(Err(error)) => tracing::debug!(%error, "a connection ended before it began"),
            None => tracing::debug!("a connection said nothing"),
        }
    }

    /// Serves a connection that speaks TLS.
    pub(super) async fn secure<I>(self, io: I, tls: Arc<ServerConfig>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.in_time(TlsAcceptor::from(tls).accept(io)).await {
            Some(Ok(stream)) => self.requests(stream, Scheme::Https).await,
            Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            None => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// `None` where it takes too long, or the server closes.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        let patience: Duration = self.how.limits.handshake;
        tokio::select! {
            done = tokio::time::timeout(patience, step) => done.ok(),
            () = self.closing.cancelled() => None,
        }
    }

    /// Answers requests until somebody closes the connection.
    async fn requests<I>(self, io: I, scheme: Scheme)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.how.limits;
        let closing = self.closing.clone();
        let service = service_fn(move |request| self.clone().answer(request, scheme));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_header_size(limits.head_bytes);
        let mut connection = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn answer(self, mut request: Request<Incoming>, scheme: Scheme) -> Result<Response, Infallible> {
        if request.method() == Method::CONNECT {
            return Ok(self.tunnel(request));
        }
        request.extensions_mut().insert(scheme);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let pause = self.how.limits.body_pause;
        self.router.oneshot(request.map(|body| Body::new(Patient::new(body, pause)))).await
    }
}

/// What the connection begins with; it stays to be read.
async fn first_byte(stream: &TcpStream) -> std::io::Result<u8> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0]),
    }
}
