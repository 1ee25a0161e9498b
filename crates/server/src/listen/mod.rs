//! The listener: one port for plain HTTP, for HTTPS and, where the owner wants it, for `CONNECT`.
//!
//! Whether a connection speaks TLS is told by its first byte, so that users of `http://` and of `https://` share a port.
//! Everything that a stranger could hold on to has a bound: connections, the time until a request has arrived, the size
//! of its head, the pauses in its body.

mod connection;
mod patience;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hosts::Hosts;
use connection::Connection;
#[cfg(feature = "fuzz")]
pub(crate) use tunnel::is_ours;

/// After a failed `accept` (mostly: no file descriptors left) the loop rests instead of spinning.
const REST: Duration = Duration::from_millis(100);

/// How connections are taken.
#[derive(Clone, Default)]
pub struct Listening {
    /// What HTTPS is served with; without it there is none.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether `CONNECT` to one of `hosts` is answered, by this server itself. Needs `tls`.
    pub connect: bool,
    /// The names that stand for services.
    pub hosts: Arc<Hosts>,
    /// What callers may take.
    pub limits: ConnectionLimits,
}

/// What callers may take from the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// How long the first byte and the TLS handshake may take, each.
    pub handshake: Duration,
    /// How long the head of a request may take. A connection that is kept alive for the next one is closed after this
    /// time too, so it is longer than clients keep theirs.
    pub head: Duration,
    /// Largest head of a request, in bytes.
    pub head_bytes: usize,
    /// How long nothing may come of a body that is read.
    pub body_pause: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(75),
            head_bytes: 64 * 1024,
            body_pause: Duration::from_secs(60),
        }
    }
}

/// Serves until `closing` is cancelled; then the requests at hand are answered and their connections closed.
pub async fn serve(listener: TcpListener, router: Router, how: Listening, closing: CancellationToken) {
    let slots = Arc::new(Semaphore::new(how.limits.connections));
    let open = TaskTracker::new();
    let template = Connection::new(router, Arc::new(how), open.clone(), closing.clone());
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = closing.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                open.spawn(template.in_slot(slot).serve(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
    open.close();
    drop(listener);
    open.wait().await;
}
