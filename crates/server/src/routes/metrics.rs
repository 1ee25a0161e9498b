//! `GET /metrics`: what this process counts, as Prometheus reads it.

use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::forwarded::{self, Peer};
use crate::keyless;
use crate::state::AppState;

/// How long it may take to find out who asks: the database may be away, and that is when people look here.
const PATIENCE: Duration = Duration::from_secs(3);

/// The text format, in the version that every Prometheus reads.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// On the address of everybody: with a key where there are keys, else from this machine only.
pub(super) async fn guarded(State(state): State<AppState>, request: Request) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let allowed = timeout(PATIENCE, may_read(&state, &mut parts)).await;
    allowed.map_err(|_| {
        let detail = "The database does not answer, so who may read this is not known; with `listen` in [metrics] of \
                      scumble.toml there is an address that does not ask it";
        Refusal::plain(503, detail)
    })??;
    Ok(shown(&state).await)
}

/// On an address of its own, which the owner has chosen.
pub(super) async fn open(State(state): State<AppState>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    keyless::no_page(&parts, &state.config)?;
    Ok(shown(&state).await)
}

async fn shown(state: &AppState) -> Response {
    state.look.refresh(state).await;
    ([(CONTENT_TYPE, FORMAT), (CACHE_CONTROL, "no-store")], state.config.meters.render()).into_response()
}

async fn may_read(state: &AppState, parts: &mut Parts) -> Result<(), Refusal> {
    if !state.store.keys_required().await? {
        keyless::check(parts, &state.config)?;
        return if is_of_this_machine(parts, state) { Ok(()) } else { Err(from_elsewhere()) };
    }
    let Authorized { key_id, .. } = Authorized::from_request_parts(parts, state).await?;
    let named = &state.config.metrics_keys;
    if named.is_empty() || key_id.is_some_and(|id| named.contains(&id)) {
        return Ok(());
    }
    Err(Refusal::plain(
        403,
        "This key may not read the metrics; those that may are listed in `keys` in [metrics] of scumble.toml",
    ))
}

/// Whether nobody elsewhere gets the answer, as far as can be known: `--open` opens calls to everybody, not this.
fn is_of_this_machine(parts: &Parts, state: &AppState) -> bool {
    let peer = parts.extensions.get::<Peer>().is_some_and(|Peer(address)| address.to_canonical().is_loopback());
    let proxied = forwarded::trace(&parts.headers).is_some();
    let is_local = |client: &Option<std::net::IpAddr>| client.is_some_and(|address| address.is_loopback());
    let for_this_machine = state.config.trusted_proxy && forwarded::clients(&parts.headers).iter().all(is_local);
    peer && (!proxied || for_this_machine)
}

fn from_elsewhere() -> Refusal {
    let detail = "Without keys only this machine may read the metrics. Make a key with `scumble keys create`, or give them an \
                  address of their own: `listen` in [metrics] of scumble.toml, or --metrics-listen";
    Refusal::plain(403, detail)
}
