//! A host that announces a picture and sends a byte of it now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct Drip {
    pub(crate) url: String,
    /// How many are being dripped to.
    open: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Drip {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a.png", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let counted = open.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counted = counted.clone();
                tokio::spawn(async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    drip(stream).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, open, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Until the other side has had enough.
async fn drip(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n\r\n";
    let mut sent = stream.write_all(head.as_bytes()).await;
    while sent.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        sent = stream.write_all(b"x").await;
    }
}
