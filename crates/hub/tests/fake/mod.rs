//! A hub on loopback that speaks as Hugging Face's does, and a second host behind it that holds the bytes of large files.
//! Both do what a test wants to go wrong, and remember what they were asked.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use futures::StreamExt;
use serde_json::{Value, json};
use sha2::Digest;
use tokio::net::TcpListener;

/// The commit that every branch is.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// This status, with this `Retry-After`.
    Status(u16, Option<&'static str>),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing comes after so many bytes, and the connection stays.
    Hang(usize),
    /// Bytes that belong to another file.
    Corrupt,
    /// So many bytes more than were asked for.
    Longer(usize),
    /// Another version than before.
    Version(&'static str),
}

/// How a repository is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Door {
    #[default]
    Open,
    /// To those alone who have this token.
    Gated(&'static str),
}

#[derive(Default)]
pub(crate) struct Repo {
    pub(crate) door: Door,
    pub(crate) files: BTreeMap<String, Bytes>,
    /// Names in the list that have no file.
    pub(crate) hostile: Vec<String>,
    /// What is said instead of the checksum.
    pub(crate) etag: Option<&'static str>,
    /// What is said instead of the length.
    pub(crate) size: Option<u64>,
    /// Where it is called by this name.
    pub(crate) moved_to: Option<String>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Whether of the host behind the hub.
    pub(crate) far: bool,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) repos: HashMap<String, Repo>,
    pub(crate) asked: Vec<Asked>,
    /// Of the hub, one for each request; then none.
    pub(crate) near: VecDeque<Fault>,
    /// Of the host behind it.
    pub(crate) far: VecDeque<Fault>,
    /// Of the host behind it, for every request that has no fault of its own.
    pub(crate) always: Option<Fault>,
    /// Whether that gives out whole files only.
    pub(crate) no_ranges: bool,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) url: String,
    far_url: String,
    world: Arc<Mutex<World>>,
}

impl Fake {
    pub(crate) async fn new() -> Self {
        let (near, far) = (listener().await, listener().await);
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let this = Self { url: address(&near), far_url: address(&far), world: Arc::default() };
        for (listener, router) in [
            (near, Router::new().fallback(hub).with_state(this.clone())),
            (far, Router::new().fallback(bytes).with_state(this.clone())),
        ] {
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        this
    }

    /// A repository with these files.
    pub(crate) fn holds(&self, name: &str, files: &[(&str, Vec<u8>)]) {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), Bytes::from(bytes.clone()))).collect();
        self.set(|world| world.repos.entry(name.to_owned()).or_default().files = files);
    }

    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap())
    }

    pub(crate) fn repo(&self, name: &str, change: impl FnOnce(&mut Repo)) {
        self.set(|world| change(world.repos.entry(name.to_owned()).or_default()));
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.set(|world| std::mem::take(&mut world.asked))
    }

    fn remember(&self, method: &Method, uri: &Uri, headers: &HeaderMap, far: bool) -> Fault {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let (range, authorization) = (text("range"), text("authorization"));
        let path = uri.path_and_query().unwrap().to_string();
        self.set(|world| {
            world.asked.push(Asked { method: method.clone(), path, range, authorization, far });
            let own = if far { world.far.pop_front() } else { world.near.pop_front() };
            own.or_else(|| world.always.clone().filter(|_| far)).unwrap_or(Fault::None)
        })
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

/// As git names it.
pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let mut sha1 = sha1::Sha1::new();
    sha1.update(format!("blob {}\0", bytes.len()));
    sha1.update(bytes);
    hex(&sha1.finalize())
}

fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf")
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    response
}

fn refused(status: u16, code: &str) -> Response<Body> {
    answer(status, &[("x-error-code", code), ("x-error-message", "Access denied.")], "{}")
}

async fn hub(State(fake): State<Fake>, method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let fault = fake.remember(&method, &uri, &headers, false);
    if let Fault::Status(status, after) = fault {
        let after = after.map(|after| vec![("retry-after", after)]).unwrap_or_default();
        return answer(status, &after, "no");
    }
    let path = uri.path().trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let (owner, name, rest) = match &parts[..] {
        ["api", "models", owner, name, "revision", revision] => (owner, name, Err(*revision)),
        [owner, name, "resolve", _, file @ ..] => (owner, name, Ok(file.join("/"))),
        _ => return refused(404, "RepoNotFound"),
    };
    let world = fake.world.lock().unwrap();
    let Some(repo) = world.repos.get(&format!("{owner}/{name}")) else { return refused(401, "RepoNotFound") };
    if let Some(moved) = &repo.moved_to {
        let to = uri.to_string().replacen(&format!("{owner}/{name}"), moved, 1);
        return answer(307, &[("location", &to)], Body::empty());
    }
    match rest {
        Err(revision) => match revision {
            "main" | "v1" | COMMIT => {
                let list = Bytes::from(listed(repo).to_string());
                match fault {
                    Fault::Longer(_) => ranged(&list, None, &fault),
                    _ => answer(200, &[], list),
                }
            }
            _ => refused(404, "RevisionNotFound"),
        },
        Ok(file) => {
            if let Door::Gated(token) = repo.door
                && headers.get("authorization").is_none_or(|sent| sent.to_str().unwrap() != format!("Bearer {token}"))
            {
                return refused(if headers.contains_key("authorization") { 403 } else { 401 }, "GatedRepo");
            }
            let file = file.replace("%20", " ");
            let Some(bytes) = repo.files.get(&file) else { return refused(404, "EntryNotFound") };
            let size = repo.size.unwrap_or(bytes.len() as u64).to_string();
            if is_large(&file) {
                let etag = repo.etag.map_or_else(|| sha256(bytes), str::to_owned);
                let location = format!("{}/{owner}/{name}/{file}?signature=secret", fake.far_url);
                let headers = [
                    ("x-linked-etag", &*format!("\"{etag}\"")),
                    ("x-linked-size", &size),
                    ("x-repo-commit", COMMIT),
                    ("location", &location),
                ];
                return answer(302, &headers, Body::empty());
            }
            let etag = repo.etag.map_or_else(|| git_sha1(bytes), str::to_owned);
            let bytes = bytes.clone();
            let response = ranged(&bytes, headers.get("range").map(|range| range.to_str().unwrap()), &fault);
            let (mut parts, body) = response.into_parts();
            for (name, value) in [("etag", format!("W/\"{etag}\"")), ("x-repo-commit", COMMIT.to_owned())] {
                parts.headers.insert(name, value.parse().unwrap());
            }
            if method == Method::HEAD {
                parts.headers.insert("content-length", size.parse().unwrap());
                return Response::from_parts(parts, Body::empty());
            }
            Response::from_parts(parts, body)
        }
    }
}

fn listed(repo: &Repo) -> Value {
    let names = repo.files.keys().chain(&repo.hostile);
    json!({
        "sha": COMMIT,
        "gated": if repo.door == Door::Open { json!(false) } else { json!("auto") },
        "cardData": { "license": "apache-2.0" },
        "siblings": names.map(|name| json!({ "rfilename": name })).collect::<Vec<_>>(),
    })
}

async fn bytes(State(fake): State<Fake>, method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let fault = fake.remember(&method, &uri, &headers, true);
    if let Fault::Status(status, after) = fault {
        let after = after.map(|after| vec![("retry-after", after)]).unwrap_or_default();
        return answer(status, &after, "no");
    }
    let (bytes, no_ranges) = fake.set(|world| {
        let path = uri.path().trim_start_matches('/');
        let (owner, rest) = path.split_once('/').unwrap();
        let (name, file) = rest.split_once('/').unwrap();
        (world.repos[&format!("{owner}/{name}")].files[file].clone(), world.no_ranges)
    });
    let range = headers.get("range").map(|range| range.to_str().unwrap()).filter(|_| !no_ranges);
    let version = if let Fault::Version(version) = fault { version } else { "one" };
    let mut response = ranged(&bytes, range, &fault);
    response.headers_mut().insert("etag", format!("\"{version}\"").parse().unwrap());
    response
}

/// A file, or the part of it that was asked for, with what goes wrong.
fn ranged(bytes: &Bytes, range: Option<&str>, fault: &Fault) -> Response<Body> {
    let parsed = range.and_then(|range| {
        let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, last.parse::<usize>().ok()?.min(bytes.len() - 1)))
    });
    let (start, last) = parsed.unwrap_or((0, bytes.len().saturating_sub(1)));
    let mut part = if bytes.is_empty() { Bytes::new() } else { bytes.slice(start..=last) };
    let length = part.len().to_string();
    let content_range = format!("bytes {start}-{last}/{}", bytes.len());
    let mut head = vec![("content-length", &*length)];
    if parsed.is_some() {
        head.push(("content-range", &content_range));
    }
    let status = if parsed.is_some() { 206 } else { 200 };
    let cut = |after: usize| part.slice(..after.min(part.len()));
    let body = match fault {
        Fault::Cut(after) => {
            let broken = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
            Body::from_stream(futures::stream::iter([Ok(cut(*after)), broken]))
        }
        Fault::Hang(after) => {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(cut(*after))]);
            Body::from_stream(first.chain(futures::stream::pending()))
        }
        Fault::Corrupt => {
            let mut other = part.to_vec();
            other.iter_mut().for_each(|byte| *byte ^= 1);
            Body::from(other)
        }
        Fault::Longer(more) => {
            head.remove(0);
            part = [&part[..], &vec![0; *more]].concat().into();
            Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(part)]))
        }
        Fault::None | Fault::Status(..) | Fault::Version(_) => Body::from(part),
    };
    answer(status, &head, body)
}
