//! Which of fal's services a request is for.
//!
//! `POST /{id}` means *run* on one host and *submit* on another, so the path alone does not tell. One port answers for
//! all services: by `Host` (users who redirect by DNS), by path prefix (users who set a base URL), or by the target in
//! `x-fal-target-url` on the proxy route. Anything else on an unknown host is this server's own path.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery, Uri};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::state::AppState;

/// The route that browsers and servers use as a proxy to fal.
pub(crate) const PROXY_ROUTE: &str = "/api/fal/proxy";
const TARGET: &str = "x-fal-target-url";

/// One of fal's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Direct calls.
    Run,
    /// The queue.
    Queue,
    /// Tokens and uploads.
    Rest,
    /// Files.
    Cdn,
    /// HTTP over WebSocket.
    Ws,
}

/// fal's host names.
const HOSTS: &[(&str, Service)] = &[
    ("fal.run", Service::Run),
    ("falrun.com", Service::Run),
    ("queue.fal.run", Service::Queue),
    ("queue.falrun.com", Service::Queue),
    ("rest.fal.ai", Service::Rest),
    ("rest.alpha.fal.ai", Service::Rest),
    ("v3.fal.media", Service::Cdn),
    ("v3b.fal.media", Service::Cdn),
    ("ws.fal.run", Service::Ws),
];

impl Service {
    const ALL: [Self; 5] = [Self::Run, Self::Queue, Self::Rest, Self::Cdn, Self::Ws];

    /// The path prefix of the service, with its slash.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Run => "/run",
            Self::Queue => "/queue",
            Self::Rest => "/rest",
            Self::Cdn => "/cdn",
            Self::Ws => "/ws",
        }
    }

    /// Whether a path is below the prefix of any service.
    pub(crate) fn has_path(path: &str) -> bool {
        Self::ALL.iter().any(|service| path.strip_prefix(service.prefix()).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The service that a host name stands for.
    pub fn of_host(host: &str) -> Option<Self> {
        HOSTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(host)).map(|(_, service)| *service)
    }

    fn host(self) -> &'static str {
        HOSTS.iter().find(|(_, service)| *service == self).map_or("", |(name, _)| name)
    }
}

/// How the caller reached this server, and so how URLs in its answer must look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    scheme: &'static str,
    /// Host and port as the caller wrote them.
    authority: String,
    /// Whether the caller uses fal's own host names.
    by_host: bool,
    /// The owner's word on where this server is.
    public_url: Option<String>,
}

impl Caller {
    /// The caller of a request, by its `Host` header.
    pub(crate) fn of(parts: &Parts, public_url: Option<String>) -> Self {
        let header = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let authority = header.or_else(|| parts.uri.authority().map(Authority::as_str)).unwrap_or("localhost");
        let authority = authority.to_owned();
        let by_host = Service::of_host(host_name(&authority)).is_some();
        Self { scheme: "http", authority, by_host, public_url }
    }

    /// The URL of a path of a service, `path` beginning with a slash.
    pub fn url(&self, service: Service, path: &str) -> String {
        if self.by_host {
            let port = self.authority.rsplit_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
            return format!("{}://{}{port}{path}", self.scheme, service.host());
        }
        let base = match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{}://{}", self.scheme, self.authority),
        };
        format!("{base}{}{path}", service.prefix())
    }
}

/// Rewrites the path to its service's prefix and remembers the caller.
pub(crate) async fn address(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts, state.config.public_url.clone());
    match addressed_path(&parts, &caller) {
        Ok(Some(path)) => parts.uri = Uri::from(path),
        Ok(None) => {}
        Err(refusal) => return refusal,
    }
    // honoured on the proxy route and nowhere else
    parts.headers.remove(TARGET);
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}

/// The path with its service's prefix; `None` where it can stay.
fn addressed_path(parts: &Parts, caller: &Caller) -> Result<Option<PathAndQuery>, Response> {
    let path_and_query = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if parts.uri.path() == PROXY_ROUTE {
        let target = parts.headers.get(TARGET).and_then(|t| t.to_str().ok());
        return target.and_then(|t| proxy_path(t, caller)).map(Some).ok_or_else(invalid_target);
    }
    let Some(service) = Service::of_host(host_name(&caller.authority)) else { return Ok(None) };
    Ok(format!("{}{path_and_query}", service.prefix()).parse().ok())
}

/// The path behind a proxy target: an https URL on one of fal's hosts, or one of this server's own. Nothing else, and
/// the URL is never opened: this is no relay.
pub(crate) fn proxy_path(target: &str, caller: &Caller) -> Option<PathAndQuery> {
    let uri: Uri = target.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let path_and_query = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if scheme == "https"
        && authority.port().is_none()
        && !authority.as_str().contains('@')
        && let Some(service) = Service::of_host(authority.host())
    {
        return format!("{}{path_and_query}", service.prefix()).parse().ok();
    }
    let own = authority.as_str() == caller.authority && Service::has_path(uri.path());
    own.then(|| path_and_query.parse().ok())?
}

fn invalid_target() -> Response {
    (StatusCode::BAD_REQUEST, axum::Json("Invalid request")).into_response()
}

/// A host name without its port.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(authority: &str) -> Caller {
        let by_host = Service::of_host(host_name(authority)).is_some();
        Caller { scheme: "http", authority: authority.into(), by_host, public_url: None }
    }

    #[test]
    fn urls_look_like_the_address_that_was_used() {
        let url = |authority: &str| caller(authority).url(Service::Queue, "/fal-ai/flux/requests/1");
        assert_eq!(url("127.0.0.1:8787"), "http://127.0.0.1:8787/queue/fal-ai/flux/requests/1");
        assert_eq!(url("[::1]:8787"), "http://[::1]:8787/queue/fal-ai/flux/requests/1");
        assert_eq!(url("fal.run"), "http://queue.fal.run/fal-ai/flux/requests/1");
        assert_eq!(url("queue.falrun.com:8443"), "http://queue.fal.run:8443/fal-ai/flux/requests/1");
    }

    #[test]
    fn a_proxy_target_is_a_service_or_nothing() {
        let path = |target: &str| proxy_path(target, &caller("localhost:1")).map(|p| p.to_string());
        assert_eq!(path("https://fal.run/fal-ai/flux/dev?x=1"), Some("/run/fal-ai/flux/dev?x=1".into()));
        assert_eq!(path("https://queue.fal.run/a/b"), Some("/queue/a/b".into()));
        assert_eq!(path("http://localhost:1/queue/a/b"), Some("/queue/a/b".into()));
        for refused in [
            "http://fal.run/a/b",
            "https://fal.run:22/a/b",
            "https://evil@fal.run/a/b",
            "https://fal.run.evil.com/a",
            "https://example.com/run/a/b",
            "http://localhost:1/keys",
            "http://169.254.169.254/run/a",
            "/run/a/b",
            "",
        ] {
            assert_eq!(path(refused), None, "{refused}");
        }
    }
}
