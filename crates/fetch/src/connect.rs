//! Connections to checked addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::error::CONNECTING;
use crate::resolve::Guard;
use crate::target::host;
use crate::tls::Tls;
use crate::{Error, Result};

/// Bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the host of a URL, encrypted where the URL says so.
pub(crate) async fn connect(url: &Url, guard: &Guard, tls: &Tls, limit: Duration) -> Result<Box<dyn Stream>> {
    let deadline = Instant::now() + limit;
    let connecting = async {
        let addresses = guard.addresses(url).await?;
        let stream = connect_any(url, &addresses, deadline).await?;
        if url.scheme() == "https" { encrypt(url, stream, tls).await } else { Ok(Box::new(stream) as Box<dyn Stream>) }
    };
    let late = || Error::TooSlow { host: host(url), doing: CONNECTING, limit };
    timeout_at(deadline, connecting).await.unwrap_or_else(|_| Err(late()))
}

/// The first address that answers. Each gets its share of the time, so that one that is silent does not use it up.
async fn connect_any(url: &Url, addresses: &[IpAddr], deadline: Instant) -> Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(80);
    let mut reason = "it has no address".to_owned();
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                // a request is written at once; waiting to fill a packet only delays it
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => reason = error.kind().to_string(),
            Err(_) => reason = io::ErrorKind::TimedOut.to_string(),
        }
    }
    Err(Error::Unreachable { host: host(url), reason })
}

async fn encrypt(url: &Url, stream: TcpStream, tls: &Tls) -> Result<Box<dyn Stream>> {
    let insecure = |reason: String| Error::Tls { host: host(url), reason };
    let name = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|e| insecure(e.to_string()))?,
        Some(Host::Ipv4(address)) => ServerName::from(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => ServerName::from(IpAddr::V6(address)),
        None => return Err(insecure("the URL has no host".to_owned())),
    };
    let connector = TlsConnector::from(tls.config().map_err(insecure)?);
    let stream = connector.connect(name, stream).await.map_err(|e| insecure(e.to_string()))?;
    Ok(Box::new(stream))
}
