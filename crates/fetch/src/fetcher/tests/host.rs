//! A far end that does what the test says.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What a host does with one request.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes, then the end of the connection.
    Say(Vec<u8>),
    /// These bytes, then silence.
    Hang(Vec<u8>),
    /// These bytes, then the others for ever.
    Flood(Vec<u8>, Vec<u8>),
    /// These bytes, then one after the other for ever, with this pause.
    Drip(Vec<u8>, Duration),
}

pub(super) struct Host {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Host {
    pub(super) async fn new(ip: &str, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(ip, 0, None, reply).await
    }

    pub(super) async fn on(
        ip: &str,
        port: u16,
        tls: Option<Arc<ServerConfig>>,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let ip: IpAddr = ip.parse().expect("an address");
        let listener = TcpListener::bind((ip, port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (heard, reply) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(reply));
        let hears = heard.clone();
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hears, reply, tls) = (hears.clone(), reply.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &hears, &*reply).await,
                        Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                            Ok(stream) => serve(stream, &hears, &*reply).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        };
        Self { port, heard, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// Every request so far, head and body.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heard: &Mutex<Vec<String>>,
    reply: &(dyn Fn(&str) -> Reply + Send + Sync),
) -> Option<()> {
    let request = read_request(&mut stream).await?;
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    match reply(&request) {
        Reply::Say(bytes) => stream.write_all(&bytes).await.ok()?,
        Reply::Hang(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.flush().await.ok()?;
            std::future::pending::<()>().await;
        }
        Reply::Flood(head, piece) => {
            stream.write_all(&head).await.ok()?;
            loop {
                stream.write_all(&piece).await.ok()?;
            }
        }
        Reply::Drip(head, pause) => {
            stream.write_all(&head).await.ok()?;
            loop {
                stream.write_all(b"x").await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(pause).await;
            }
        }
    }
    stream.shutdown().await.ok()
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse().ok()? {
            return Some(text.into_owned());
        }
    }
}
