//! Hosts of weights on loopback: one that answers as the test says, one that waits, and a hub with a repository.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// The commit of the hub's repository.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A host that remembers what it was asked, and with which `Authorization`.
pub(crate) struct Far {
    pub(crate) url: String,
    heard: watch::Sender<Vec<(String, Option<String>)>>,
    gate: watch::Sender<bool>,
    _serving: AbortOnDropHandle<()>,
}

impl Far {
    pub(crate) async fn new(answer: impl Fn(&str, &HeaderMap) -> Response + Send + Sync + 'static) -> Self {
        Self::gated(move |path, headers, _| answer(path, headers)).await
    }

    /// One that sends half of this, and the rest when it is told to go.
    pub(crate) async fn slow(bytes: Vec<u8>) -> Self {
        Self::gated(move |_, _, gate| {
            let (first, rest) = (bytes[..bytes.len() / 2].to_vec(), bytes[bytes.len() / 2..].to_vec());
            let length = bytes.len();
            let rest = futures::stream::once(async move {
                let mut gate = gate;
                let _ = gate.wait_for(|open| *open).await;
                rest
            });
            let pieces = futures::stream::iter([first]).chain(rest).map(Ok::<_, std::convert::Infallible>);
            ([("content-length", length.to_string())], Body::from_stream(pieces)).into_response()
        })
        .await
    }

    async fn gated(
        answer: impl Fn(&str, &HeaderMap, watch::Receiver<bool>) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, gate, answer) = (watch::Sender::new(Vec::new()), watch::Sender::new(false), Arc::new(answer));
        let (hears, open) = (heard.clone(), gate.subscribe());
        let router = Router::new().fallback(async move |uri: Uri, headers: HeaderMap| {
            let sent = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            hears.send_modify(|heard| heard.push((uri.path().to_owned(), sent)));
            answer(uri.path(), &headers, open.clone())
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, heard, gate, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn heard(&self) -> Vec<(String, Option<String>)> {
        self.heard.borrow().clone()
    }

    /// Until so many requests have come.
    pub(crate) async fn begun(&self, requests: usize) {
        let mut heard = self.heard.subscribe();
        let come = heard.wait_for(|heard| heard.len() >= requests);
        tokio::time::timeout(Duration::from_secs(30), come).await.unwrap().unwrap();
    }

    /// Lets slow answers come to their end.
    pub(crate) fn go(&self) {
        self.gate.send_replace(true);
    }
}

/// A file of safetensors with one tensor of four bytes.
pub(crate) fn weights(value: u8) -> Vec<u8> {
    let head = br#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;
    [&(head.len() as u64).to_le_bytes()[..], head, &[value; 4]].concat()
}

/// A hub with one repository, `owner/name`.
pub(crate) async fn hub(files: &[(&str, Vec<u8>)]) -> Far {
    let files: Vec<(String, Vec<u8>)> = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let files = Mutex::new(files);
    Far::new(move |path, _| {
        if path.starts_with("/api/models/owner/name/revision/") {
            return listing(&names);
        }
        let file = path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/"));
        let files = files.lock().unwrap();
        let found = files.iter().find(|(name, _)| Some(name.as_str()) == file);
        found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |(_, bytes)| bytes.clone().into_response())
    })
    .await
}

/// The hub's answer about a repository with these files.
pub(crate) fn listing(names: &[String]) -> Response {
    let files: Vec<_> = names.iter().map(|name| json!({ "rfilename": name })).collect();
    json!({ "sha": COMMIT, "siblings": files }).to_string().into_response()
}

/// The paths of files that a hub was asked for.
pub(crate) fn asked(hub: &Far) -> Vec<String> {
    hub.heard().into_iter().map(|(path, _)| path).collect()
}
