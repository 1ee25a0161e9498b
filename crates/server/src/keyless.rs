//! Who may use a server on which no key was made: programs on this machine, and nobody through them.
//!
//! The network alone does not tell. A browser on this machine runs the scripts of every site that somebody visits, under
//! names that those sites choose; a proxy on this machine brings requests from everywhere. So, as long as there are no
//! keys, a request is answered only where
//!
//! 1. its `Host` is an address, or a name that nobody else can have pointed here,
//! 2. it is no page's, or that of a page of ours, of this machine, or of one that the owner has listed,
//! 3. no proxy brings it for somebody elsewhere, unless the owner has opened the server to everybody (`--open`).
//!
//! Whether the process lives and works ([`PROBES`]) everybody may know. With keys none of this matters: other sites do
//! not have one.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::config::Config;
use crate::forwarded::{self, Peer};
use crate::origins::Origin;
use crate::pages;
use crate::state::AppState;

/// What machines ask, by whatever name.
const PROBES: [&str; 2] = ["/health", "/ready"];
/// Where pictures are: pages of any site may show those whose URL they know.
const FILES: [&str; 2] = ["/files/", "/cdn/files/"];
/// Where a GET is a call.
const CALLS: &str = "/run/";

/// Turns away whoever may not use a server without keys, before anything of their request is read but its head.
pub(crate) async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let allowed = match state.store.keys_required().await {
        Ok(true) => Ok(()),
        Ok(false) => check(&parts, &state.config),
        Err(error) => Err(error.into()),
    };
    match allowed {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) if pages::is_page(parts.uri.path()) => pages::refused(&parts, refusal),
        Err(refusal) => refusal.into_response(),
    }
}

/// Whether a request may be answered while there are no keys.
pub(crate) fn check(parts: &Parts, config: &Config) -> Result<(), Refusal> {
    let unknown = Caller::unknown();
    let caller = parts.extensions.get().unwrap_or(&unknown);
    name(caller)?;
    page(parts, caller, config)?;
    way(&parts.headers, config)
}

/// Where it is explained.
const MORE: &str = "see /docs/settings#without-keys";

fn name(caller: &Caller) -> Result<(), Refusal> {
    if caller.is_surely_ours() {
        return Ok(());
    }
    let detail = format!(
        "Without keys this server answers only by addresses, and by names that nobody else can have pointed at it, such \
         as localhost or gpu.lan; {} is neither. Make a key with `scumble keys create`, or tell the server that this is \
         its name: --public-url, or `hosts` in [server] of scumble.toml ({MORE})",
        caller.authority_text()
    );
    Err(Refusal::plain(403, &detail))
}

/// Where a page sends the request, whose that is.
fn page(parts: &Parts, caller: &Caller, config: &Config) -> Result<(), Refusal> {
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return unnamed_page(parts, caller) };
    let origin = origin.to_str().ok().and_then(Origin::parse).filter(|_| origins.next().is_none());
    let allowed = |origin: &Origin| {
        origin.is_loopback()
            || caller.is_at(origin)
            || config.hosts.is_own(origin.host())
            || config.origins.have(origin)
    };
    if origin.is_some_and(|origin| allowed(&origin)) { Ok(()) } else { Err(strange_page()) }
}

/// Browsers name no origin where they follow a link or load a picture; newer ones say at least whether it is of another
/// site. (Whatever reads or writes more has an origin.)
fn unnamed_page(parts: &Parts, caller: &Caller) -> Result<(), Refusal> {
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let from_elsewhere = match text("sec-fetch-site") {
        None | Some("none" | "same-origin") => false,
        // another port of this machine
        Some("same-site") => !caller.is_loopback(),
        Some(_) => true,
    };
    let path = parts.uri.path();
    let reads = [Method::GET, Method::HEAD].contains(&parts.method);
    let follows_a_link = text("sec-fetch-mode") == Some("navigate") && !path.starts_with(CALLS);
    let shows_a_picture = FILES.iter().any(|folder| path.starts_with(folder));
    if !from_elsewhere || reads && (follows_a_link || shows_a_picture) { Ok(()) } else { Err(strange_page()) }
}

/// Turns away what a page of any site sends, where nothing is for pages. Whoever asks from this machine may be a browser
/// that was led here by a name of a stranger's; from other machines programs may come by any name.
pub(crate) fn no_page(parts: &Parts, config: &Config) -> Result<(), Refusal> {
    let from_here = parts.extensions.get::<Peer>().is_none_or(|Peer(address)| address.to_canonical().is_loopback());
    if from_here {
        name(&Caller::of(parts, config).unwrap_or_else(|_| Caller::unknown()))?;
    }
    let site = parts.headers.get("sec-fetch-site").map(axum::http::HeaderValue::as_bytes);
    let of_a_page = parts.headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != b"none");
    if of_a_page { Err(Refusal::plain(403, "This is for programs, and nothing for pages")) } else { Ok(()) }
}

fn strange_page() -> Refusal {
    let detail = format!(
        "This was sent by a page of another site, and a server without keys takes nothing from those. Make a key with \
         `scumble keys create`, or list the page's origin, such as https://app.example.com, in `origins` in [server] of \
         scumble.toml ({MORE})"
    );
    Refusal::plain(403, &detail)
}

/// Through whom it came. A proxy on this machine looks like this machine, and serves others.
fn way(headers: &HeaderMap, config: &Config) -> Result<(), Refusal> {
    let Some(trace) = forwarded::trace(headers).filter(|_| !config.open) else { return Ok(()) };
    if !config.trusted_proxy {
        let detail = format!(
            "This came through a proxy (it has the header {trace}), and without keys only this machine may call. Make a \
             key with `scumble keys create`; or start the server with --open, if everybody whom the proxy serves may \
             call; or set trusted_proxy in [server] of scumble.toml, if the proxy names its clients in that header \
             ({MORE})"
        );
        return Err(Refusal::plain(403, &detail));
    }
    let is_local = |client: &Option<std::net::IpAddr>| client.is_some_and(|address| address.is_loopback());
    if forwarded::clients(headers).iter().all(is_local) {
        return Ok(());
    }
    let detail = format!(
        "A proxy brings this from another machine, and without keys only this one may call. Make a key with `scumble keys \
         create`, or start the server with --open, if everybody whom the proxy serves may call ({MORE})"
    );
    Err(Refusal::plain(403, &detail))
}
