//! A receiver of webhooks that answers as the test says and remembers what it got.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What the receiver does with one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Sends the caller elsewhere.
    Redirect(String),
    /// Never answers.
    Silence,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
}

/// A receiver; ends with the test.
pub struct Catcher {
    /// `http://IP:PORT/hook`.
    pub url: String,
    caught: watch::Receiver<Vec<Caught>>,
    _serving: AbortOnDropHandle<()>,
}

struct Script {
    answers: Vec<Answer>,
    caught: watch::Sender<Vec<Caught>>,
}

impl Catcher {
    /// A receiver on 127.0.0.1 that gives these answers, one after the other, and the last one for ever.
    pub async fn new(answers: impl Into<Vec<Answer>>) -> Self {
        Self::on([127, 0, 0, 1].into(), answers).await
    }

    /// The same on another address of this machine.
    ///
    /// # Panics
    /// Where a port cannot be had.
    #[expect(clippy::expect_used, reason = "a test without a receiver cannot go on")]
    pub async fn on(ip: IpAddr, answers: impl Into<Vec<Answer>>) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (sender, caught) = watch::channel(Vec::new());
        let script = Arc::new(Script { answers: answers.into(), caught: sender });
        let router = Router::new().fallback(catch).with_state(script);
        let serving = async move {
            let _ = axum::serve(listener, router).await;
        };
        Self { url, caught, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// What has come so far, once it is at least this much.
    ///
    /// # Panics
    /// Where it does not come within half a minute.
    #[expect(clippy::expect_used, reason = "a test whose webhook does not come cannot go on")]
    pub async fn caught(&self, at_least: usize) -> Vec<Caught> {
        let mut caught = self.caught.clone();
        let enough = caught.wait_for(|caught| caught.len() >= at_least);
        let enough = tokio::time::timeout(Duration::from_secs(30), enough).await;
        enough.expect("the webhooks come").expect("a receiver").clone()
    }

    /// What has come so far.
    pub fn so_far(&self) -> Vec<Caught> {
        self.caught.borrow().clone()
    }
}

async fn catch(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut number = 0;
    script.caught.send_modify(|caught| {
        number = caught.len();
        caught.push(Caught { path: uri.path().to_owned(), headers, body });
    });
    match script.answers.get(number).or(script.answers.last()) {
        Some(Answer::Status(status)) => StatusCode::from_u16(*status).unwrap_or_default().into_response(),
        Some(Answer::Redirect(to)) => (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response(),
        Some(Answer::Silence) => std::future::pending().await,
        None => StatusCode::OK.into_response(),
    }
}
