//! The parsers of what strangers send, one function each, for `fuzz/`. Each checks what must hold of whatever it reads.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use scumble_api::{CdnTokenRequest, CompleteUpload, ENDPOINTS, EndpointId, InitiateUpload, JobOptions, SignRequest};
use scumble_fetch::Budget;
use scumble_files::{FilePath, Part};
use scumble_store::{ManualClock, NewJob};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tungstenite::Message;

use crate::addressing::{Caller, Service, is_catalogue, proxy_path};
use crate::config::Config;
use crate::hosts::{Authority, Hosts};
use crate::listen::is_ours;
use crate::platform::{self, SubmitQuery};
use crate::routes::{self, files, queue, uploads as calls};
use crate::session::{Answer, Answering, Input, Overflow, Rules, serve};
use crate::socket::socket;
use crate::stop::Stop;
use crate::token::{self, App, Claims, Door};
use crate::{auth, messages, pages, sse, uploads};

const NOW_MS: i64 = 1_700_000_000_000;

/// A `Host` is a name and maybe a port, and its own text means the same.
///
/// # Panics
/// When it does not.
pub fn host(text: &str, own: &str) {
    let hosts = Hosts::with(&[own.to_owned()]).unwrap_or_default();
    if let Some(authority) = Authority::parse(text) {
        assert_eq!(Authority::parse(&authority.to_string()), Some(authority.clone()), "{text}");
        let known = hosts.find(&authority.host).is_some();
        assert_eq!(known, hosts.names().contains(&authority.host), "{text}");
    }
}

/// A target on the proxy route leads to one of our services, to the catalogue or nowhere.
///
/// # Panics
/// When it leads anywhere else.
pub fn proxy_target(target: &str, host: &str) {
    let Some(caller) = caller(host) else { return };
    let hosts = Hosts::default();
    if let Some(path) = proxy_path(target, &caller, &hosts) {
        assert!(Service::has_path(path.path()) || is_catalogue(path.path()), "{target} leads to {path}");
    }
}

/// What `CONNECT` is answered for is one of our names, on the one port.
///
/// # Panics
/// When it is anything else.
pub fn connect_target(target: &str, own: &str) {
    let hosts = Hosts::with(&[own.to_owned()]).unwrap_or_default();
    let Ok(target) = target.parse::<Uri>() else { return };
    if is_ours(&hosts, &target) {
        let host = target.host().unwrap_or_default().to_ascii_lowercase();
        assert!(hosts.names().contains(&host) && target.port_u16() == Some(443), "{target}");
    }
}

/// A path of the queue names a request or nothing.
pub fn queue_path(path: &str) {
    let _ = queue::parse(path);
}

/// A range of bytes does not end before it begins.
///
/// # Panics
/// When it does.
pub fn byte_range(text: &str, size: i64) {
    if let Some(range) = files::parse_range(text, size) {
        assert!(range.start <= range.end, "{text} of {size} is {range:?}");
    }
}

/// Where a credential stands: in the header, or in the query, from which it is taken. What a token opens is a call or a
/// status.
///
/// # Panics
/// When a token stays in the query.
pub fn credentials(target: &str, header: &str) {
    let Ok(request) = Request::builder().uri(target).header("authorization", header).body(()) else { return };
    let parts = request.into_parts().0;
    let _ = (auth::presented(&parts), auth::door(&parts));
    if let Some((uri, _)) = auth::without_token(&parts.uri) {
        let query = uri.query().unwrap_or_default();
        assert!(!query.split('&').any(|pair| pair.starts_with("fal_jwt_token=")), "{target} became {uri}");
        assert_eq!(uri.path(), parts.uri.path());
    }
}

/// A token and the apps that it names.
pub fn token(token: &str, id: &str) {
    let app = App::parse(token);
    let claims = token::parts(token).and_then(|(_, payload, _)| serde_json::from_slice::<Claims>(&payload).ok());
    let claims = claims.or_else(|| serde_json::from_str(token).ok());
    let Some(id) = EndpointId::parse(id) else { return };
    let door = Door::Status { app_path: id.app_path().as_str().to_owned() };
    for door in [door, Door::Call { id, way: "realtime" }] {
        let _ = claims.as_ref().map(|claims| (claims.open(&door), claims.until_ms()));
        let _ = app.as_ref().map(|app| app.opens(&door));
    }
}

/// Nobody makes an upload's ticket but the server; one that it has signed opens what it says, whatever that is.
///
/// # Panics
/// When a forged one opens anything.
pub fn upload_ticket(text: &str) {
    let signer = uploads::Signer::fixed();
    assert_eq!(signer.open(text, NOW_MS), Err(uploads::Unusable::Forged), "{text}");
    if let Ok(claims) = signer.open(&signer.sign(text.as_bytes()).expect("a ticket"), NOW_MS) {
        let again = signer.seal(&claims, NOW_MS + 1).expect("a ticket");
        assert_eq!(signer.open(&again, NOW_MS), Ok(claims));
    }
}

/// The headers of an upload: a file's name, its type, its life. What is accepted can be sent back.
///
/// # Panics
/// When it cannot.
pub fn upload_headers(lines: &[u8]) {
    if let Ok((ticket, path)) = uploads::ticket_of_headers(&headers(lines), None) {
        assert!(HeaderValue::from_str(&ticket.content_type).is_ok(), "{ticket:?}");
        assert_eq!(path.as_str().parse::<FilePath>().as_ref(), Ok(&path));
    }
}

/// The list that completes an upload in parts: what it means is what is here, each part once and in order.
///
/// # Panics
/// When it means anything else.
pub fn part_list(body: &[u8]) {
    let Ok(list) = calls::read_object::<CompleteUpload>(body) else { return };
    let stored: Vec<Part> = list.parts.iter().enumerate().map(part).collect();
    if let Ok(meant) = uploads::meant(&list.parts, stored.clone()) {
        assert!(meant.len() == list.parts.len() && meant.iter().all(|part| stored.contains(part)));
        assert!(meant.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}

fn part((at, part): (usize, &scumble_api::UploadPart)) -> Part {
    // every fifth is another one than the list says
    let tag = if at % 5 == 4 { format!("{}x", part.etag) } else { part.etag.trim_matches('"').to_owned() };
    Part { number: part.part_number, tag, bytes: 1 }
}

/// The form of a page, filled in by a browser or by anybody.
///
/// # Panics
/// When a form does not show all fields.
pub fn page_form(body: &[u8]) {
    pages::show_again(body);
}

/// The small JSON bodies of calls around files and tokens.
pub fn small_bodies(body: &[u8]) {
    let _ = calls::read_json::<InitiateUpload>(body);
    let _ = calls::read_json::<CdnTokenRequest>(body);
    let _ = calls::read_json::<SignRequest>(body);
    if let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(body) {
        let _ = (routes::tokens::apps(&fields), routes::tokens::seconds(&fields, "duration"));
    }
}

/// The headers of a call. What they amount to survives being stored, and nobody's deadline lies in the past.
///
/// # Panics
/// When it does.
pub fn call_headers(lines: &[u8]) {
    let (headers, clock) = (headers(lines), Arc::new(ManualClock::at(NOW_MS)));
    let job = platform::heed(NewJob::new("a/b", Value::Null), &headers, &*clock);
    assert!(job.start_by_ms.is_none_or(|at| at > NOW_MS), "{job:?}");
    let _ = platform::once(&headers, "a/b", &Value::Null);
    let Some(caller) = caller("localhost") else { return };
    if let Ok(options) = platform::options(&headers, &caller) {
        assert_eq!(JobOptions::of(&options.to_json()), options);
    }
}

/// The query of a submit. A webhook that is accepted is one that can be called.
///
/// # Panics
/// When it is none.
pub fn submit_query(query: &str) {
    let Ok(uri) = format!("/queue/a/b?{query}").parse::<Uri>() else { return };
    let Ok(Query(query)) = Query::<SubmitQuery>::try_from_uri(&uri) else { return };
    let _ = query.max_waiting();
    if let Ok(Some(url)) = query.webhook(false) {
        assert!(scumble_fetch::check_target(&url, false).is_ok(), "{url}");
    }
}

/// The query of the catalogue.
pub fn catalogue_query(query: &str) {
    let Ok(uri) = format!("/v1/models?{query}").parse::<Uri>() else { return };
    let (Ok(Query(pairs)), Some(caller)) = (Query::try_from_uri(&uri), caller("localhost")) else { return };
    let _ = routes::catalogue::page(pairs, &caller, &|endpoint| scumble_api::Standing::of(endpoint, None));
}

/// A message of a WebSocket in MessagePack: what is read can be written, and is then read as the same.
///
/// # Panics
/// When it is not.
pub fn message(bytes: &[u8]) {
    let input = Input { is_text: false, bytes: Bytes::copy_from_slice(bytes) };
    if let Ok(body) = routes::realtime::read(&input) {
        for endpoint in ENDPOINTS {
            let _ = endpoint.parse(&body, scumble_api::Scope::Wire);
        }
        assert!(body.is_object());
    }
    if let Ok(value) = messages::from_msgpack(bytes) {
        let written = rmp_serde::to_vec_named(&value).expect("MessagePack");
        assert_eq!(messages::from_msgpack(&written), Ok(value));
    }
}

/// The cookies of a request, one line each. What is taken for ours is in one of them, and is opened only if it was signed.
///
/// # Panics
/// When it is anything else.
pub fn cookies(lines: &str) {
    let mut headers = HeaderMap::new();
    for line in lines.lines() {
        if let Ok(value) = HeaderValue::from_str(line) {
            headers.append("cookie", value);
        }
    }
    let Some(cookie) = pages::cookie_of(&headers) else { return };
    assert!(lines.contains(cookie), "{cookie}");
    let claims = token::parts(cookie).and_then(|(_, payload, _)| serde_json::from_slice::<Claims>(&payload).ok());
    let _ = claims.map(|claims| claims.until_ms());
}

/// A session on a WebSocket, from its first byte to its last: whatever comes, it ends with its connection, answers no
/// more inputs than came, and holds no bytes when it is over.
///
/// # Panics
/// When it does not.
pub fn session(bytes: &[u8]) {
    let (first, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let overflow = if first & 1 == 0 { Overflow::DropOldest } else { Overflow::Close };
    // lives as long as the session: the server does not stop meanwhile
    let stop = Stop::default();
    let (idle, phases) = (Duration::from_secs(60), stop.hear());
    let rules = Rules { waiting: 2, bytes: 1024, overflow, idle, farewell: None, phases };
    let budget = Budget::new(256 * 1024);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (mut caller, connection) = tokio::io::duplex(64 * 1024);
        let serving = async {
            let socket = socket(connection, budget.share(), 64 * 1024).await;
            let answer = |input: Input| -> Answering {
                let text = routes::realtime::read(&input).map_or_else(|reason| reason, |body| body.to_string());
                let is_last = input.bytes.ends_with(b"!");
                Box::pin(async move { Answer { messages: vec![Message::Text(text.into())], is_last } })
            };
            serve(socket, rules, answer).await;
        };
        let calling = async {
            let _ = caller.write_all(bytes).await;
            let _ = caller.shutdown().await;
            let _ = tokio::io::copy(&mut caller, &mut tokio::io::sink()).await;
        };
        tokio::join!(serving, calling);
    });
    assert_eq!(budget.free(), budget.bytes(), "a share was not given back");
}

/// An event is ASCII, and says what it was made of.
///
/// # Panics
/// When it does not.
pub fn event(text: &str) {
    let json = serde_json::to_string(text).expect("JSON");
    let event = sse::ascii(&json);
    assert!(event.is_ascii() && !event.contains(['\n', '\r']), "{event}");
    assert_eq!(serde_json::from_str::<String>(&event).ok().as_deref(), Some(text));
}

/// The size of a preview.
pub fn preview(bytes: &[u8]) {
    let _ = routes::jpeg_size(bytes);
}

/// Somebody who calls this host.
fn caller(host: &str) -> Option<Caller> {
    let parts: Parts = Request::builder().uri("/api/fal/proxy").header("host", host).body(()).ok()?.into_parts().0;
    Caller::of(&parts, &Config::default()).ok()
}

/// Lines of `name: value`; those that are none are left out.
fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..at].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[at + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}
