//! The listener: one port for plain HTTP, for HTTPS and, where the owner wants it, for `CONNECT`.
//!
//! Whether a connection speaks TLS is told by its first byte, so that users of `http://` and of `https://` share a port.
//! Everything that a stranger could hold on to has a bound: connections, in all and from one address, the time until a
//! request has arrived, the size of its head, the pauses in its body and in the taking of its answer.

mod connection;
mod course;
mod patience;
mod room;
mod tunnel;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use scumble_meters::{Meters, set};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hosts::Hosts;
use crate::prefix::Prefix;
use connection::Connection;
pub(crate) use connection::H2;
pub(crate) use room::Crowded;
use room::Room;
#[cfg(feature = "fuzz")]
pub(crate) use tunnel::is_ours;

/// Requests at once on one connection of HTTP/2; further ones wait at the caller's.
const H2_STREAMS: u32 = 128;

/// Requests of HTTP/2 that were taken back before anybody looked at them; a connection with more of these ends.
const H2_WAITING_RESETS: usize = 20;

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
    /// The path below which a proxy shows this server, for what is refused before it is a request.
    pub base_path: Prefix,
    /// What callers may take.
    pub limits: ConnectionLimits,
    /// Where connections are counted.
    pub meters: Meters,
}

/// What callers may take from the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once. Beyond them only `/health` and `/ready` are answered, on a few.
    pub connections: usize,
    /// Connections at once from one address, or from one network of IPv6 (/64).
    pub per_address: usize,
    /// How long the first byte and the TLS handshake may take, each.
    pub handshake: Duration,
    /// How long the head of a request may take, from its first byte on. As long a new connection may be silent.
    pub head: Duration,
    /// How long a connection is kept for the next request: longer than clients keep theirs.
    pub idle: Duration,
    /// The time for all of these where there are too many connections already.
    pub spare: Duration,
    /// Largest head of a request, in bytes.
    pub head_bytes: usize,
    /// How long nothing may come of a body that is read.
    pub body_pause: Duration,
    /// How many bytes of it have to come in a second, on average, beyond the first of such pauses.
    pub body_rate: u64,
    /// How long a caller may take nothing of an answer.
    pub send_pause: Duration,
}

impl ConnectionLimits {
    /// So many connections, and half of them for one address: what is behind one, be it a proxy or a program under
    /// load, has room, and nobody has all of it.
    pub fn of(connections: usize) -> Self {
        Self {
            connections,
            per_address: connections.div_ceil(2),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            spare: Duration::from_secs(2),
            head_bytes: 64 * 1024,
            body_pause: Duration::from_secs(60),
            body_rate: 1024,
            send_pause: Duration::from_secs(60),
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::of(4096)
    }
}

/// Serves until `closing` is cancelled; then the requests at hand are answered and their connections closed.
pub async fn serve(listener: TcpListener, router: Router, how: Listening, closing: CancellationToken) {
    let meters = how.meters.clone();
    set(&meters.http.connections_limit, how.limits.connections as f64);
    let room = Room::new(how.limits.connections, how.limits.per_address, meters.clone());
    let open = TaskTracker::new();
    let template = Connection::new(router, Arc::new(how), open.clone(), closing.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => match room.enter(address.ip()) {
                Some(place) => drop(open.spawn(template.in_place(place).serve(stream))),
                None => {
                    meters.http.turned_away.inc();
                    tracing::debug!(%address, "a connection was closed: there are too many");
                }
            },
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
