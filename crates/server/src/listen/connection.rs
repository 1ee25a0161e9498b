//! One connection: plain or TLS, then requests until somebody closes it.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::course::{Course, InFlight, Patience};
use super::patience::Patient;
use super::room::Place;
use super::tunnel::refused;
use super::wire::Wire;
use super::{Crowded, H2_STREAMS, H2_WAITING_RESETS, Listening};
use crate::addressing::Scheme;
use crate::forwarded::Peer;

/// Every TLS connection begins with a handshake record; no HTTP method begins with this byte.
const HANDSHAKE: u8 = 0x16;

/// How TLS names HTTP/2.
pub(crate) const H2: &[u8] = b"h2";

/// How long a connection that has to end may take for its goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

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
    place: Option<Arc<Place>>,
    /// Whether it runs inside another one.
    pub(super) tunnelled: bool,
    /// Who has opened it.
    peer: Option<Peer>,
}

impl Connection {
    pub(super) fn new(router: Router, how: Arc<Listening>, open: TaskTracker, closing: CancellationToken) -> Self {
        Self { router, how, open, closing, place: None, tunnelled: false, peer: None }
    }

    /// A connection in a place of its own.
    pub(super) fn in_place(&self, place: Place) -> Self {
        Self { place: Some(Arc::new(place)), ..self.clone() }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(mut self, stream: TcpStream) {
        self.peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
        // answers are written at once; waiting for more to send would only delay them
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not available");
        }
        let Some(tls) = self.how.tls.clone() else { return self.serially(stream, Scheme::Http).await };
        match self.in_time(first_byte(&stream)).await {
            Some(Ok(HANDSHAKE)) => self.secure(stream, tls).await,
            Some(Ok(_)) => self.serially(stream, Scheme::Http).await,
            Some(Err(error)) => tracing::debug!(%error, "a connection ended before it began"),
            None => tracing::debug!("a connection said nothing"),
        }
    }

    /// Serves a connection that speaks TLS. Which HTTP it carries is agreed on with the handshake.
    pub(super) async fn secure<I>(self, io: I, tls: Arc<ServerConfig>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.in_time(TlsAcceptor::from(tls).accept(io)).await {
            Some(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(H2) => self.together(stream).await,
            Some(Ok(stream)) => self.serially(stream, Scheme::Https).await,
            Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            None => tracing::debug!("a TLS handshake took too long"),
        }
    }

    fn crowded(&self) -> Option<Crowded> {
        self.place.as_ref().and_then(|place| place.crowded)
    }

    fn patience(&self) -> Patience {
        let limits = &self.how.limits;
        match self.crowded() {
            None => Patience { head: limits.head, idle: limits.idle },
            Some(_) => Patience { head: limits.spare, idle: limits.spare },
        }
    }

    /// `None` where it takes too long, or the server closes.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        let limits = &self.how.limits;
        let patience = if self.crowded().is_some() { limits.spare } else { limits.handshake };
        tokio::select! {
            done = tokio::time::timeout(patience, step) => done.ok(),
            () = self.closing.cancelled() => None,
        }
    }

    /// Answers requests one after the other, as HTTP/1.1 has them.
    async fn serially<I>(self, io: I, scheme: Scheme)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.how.limits;
        let course = Course::new(self.patience(), true);
        let wire = Wire::new(io, course.clone(), self.place.clone(), limits.send_pause);
        let wire = wire.below(self.how.base_path.clone());
        let (this, to) = (self.clone(), course.clone());
        let service = service_fn(move |request| this.clone().answer(request, scheme, to.clone()));
        let mut http = http1::Builder::new();
        // the course of the connection says how long heads may take
        http.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(limits.head_bytes);
        self.to_its_end(http.serve_connection(TokioIo::new(wire), service).with_upgrades(), &course).await;
    }

    /// Answers requests as they come, several at once, as HTTP/2 has them.
    async fn together<I>(self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.how.limits;
        let course = Course::new(self.patience(), false);
        let wire = Wire::new(io, course.clone(), self.place.clone(), limits.send_pause);
        let (this, to) = (self.clone(), course.clone());
        let service = service_fn(move |request| this.clone().answer(request, Scheme::Https, to.clone()));
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_pending_accept_reset_streams(H2_WAITING_RESETS)
            // a head beyond it gets a 431, without a body: there is no way to give it one
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            // callers who have vanished are found out, though answers of theirs may take long
            .keep_alive_interval(limits.idle);
        self.to_its_end(http.serve_connection(TokioIo::new(wire), service), &course).await;
    }

    /// Serves until somebody closes the connection, or it is without a request for too long.
    async fn to_its_end(&self, connection: impl Served, course: &Course) {
        let mut connection = pin!(connection);
        let mut overdue = pin!(course.overdue());
        let mut is_closing = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = self.closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().finish();
                    course.close(GOODBYE);
                    overdue.set(course.overdue());
                }
                () = overdue.as_mut() => {
                    tracing::debug!("a connection was without a request for too long");
                    connection.as_mut().finish();
                    // half a head never ends, an idle connection does at once
                    match tokio::time::timeout(GOODBYE, connection.as_mut()).await {
                        Ok(ended) => break ended,
                        Err(_) => return,
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn answer(
        self,
        mut request: Request<Incoming>,
        scheme: Scheme,
        course: Arc<Course>,
    ) -> Result<Response, Infallible> {
        let in_flight = Arc::new(course.request());
        if request.method() == Method::CONNECT {
            return Ok(match request.version() {
                Version::HTTP_2 => refused(405, "CONNECT is served over HTTP/1.1 only"),
                _ => self.tunnel(request, &course),
            });
        }
        request.extensions_mut().insert(scheme);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let crowded = self.crowded();
        if let Some(crowded) = crowded {
            request.extensions_mut().insert(crowded);
        }
        let waits_for_word = request.headers().contains_key(header::EXPECT);
        let (parts, body) = request.into_parts();
        let limits = &self.how.limits;
        let (body, mut leftover) = Patient::new(body, limits.body_pause, limits.body_rate);
        let request = Request::from_parts(parts, Body::new(body));
        let mut response = match self.router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            course.hand_over();
            return Ok(response);
        }
        if course.is_serial() && crowded.is_some() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // Over HTTP/2, too: a body that is dropped unread resets its stream, and some clients forget the answer with it.
        // Who still waits for leave to send a body sends none after this answer.
        if let Ok(left) = leftover.try_recv()
            && !left.is_empty()
            && (left.was_read || !waits_for_word)
            && crowded.is_none()
        {
            let (closing, in_flight) = (self.closing.clone(), in_flight.clone());
            self.open.spawn(async move {
                let _in_flight = in_flight;
                let _ = closing.run_until_cancelled(left.discard()).await;
            });
        }
        Ok(response.map(|body| Body::new(Answering { body, _in_flight: in_flight })))
    }
}

/// What the connections of both HTTPs have in common.
trait Served: Future<Output = hyper::Result<()>> {
    /// Ends it after the requests at hand.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Served for http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<axum::BoxError>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, E> Served for http2::Connection<I, S, E>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<axum::BoxError>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, Body>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// The body of an answer. The request is in flight until it is out.
struct Answering {
    body: Body,
    _in_flight: Arc<InFlight>,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
