//! Which of fal's services a request is for, and where its caller thinks we are.
//!
//! `POST /{id}` means *run* on one host and *submit* on another, so the path alone does not tell. One port answers for
//! all services: by `Host` (users who redirect by DNS or `HTTPS_PROXY`), by path prefix (users who set a base URL), or by
//! the target in `x-fal-target-url` on the proxy route. Anything else on an unknown host is this server's own path.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::{REQUEST_ID, Refusal};
use crate::config::Config;
pub(crate) use crate::hosts::Service;
use crate::hosts::{Authority, Family, Hosts};
use crate::origins::{Origin, is_loopback};
use crate::state::AppState;

/// The route that browsers and servers use as a proxy to fal.
pub(crate) const PROXY_ROUTE: &str = "/api/fal/proxy";
const TARGET: &str = "x-fal-target-url";

/// How a request came to us; an extension of the request, put there by the listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How the caller reached this server, and so how URLs in its answer must look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    scheme: Scheme,
    /// Host and port as the caller wrote them.
    authority: Authority,
    /// The service that the host stands for, and whose host name it is.
    named: Option<(Service, Family)>,
    /// The owner's word on where this server is.
    public_url: Option<String>,
}

impl Caller {
    /// The caller of a request; `None` where the host it names is none.
    pub(crate) fn of(parts: &Parts, config: &Config) -> Option<Self> {
        let authority = Authority::parse(forwarded(parts, config, "x-forwarded-host").or_else(|| named(parts))?)?;
        let scheme = match forwarded(parts, config, "x-forwarded-proto") {
            Some(word) if word.eq_ignore_ascii_case("https") => Scheme::Https,
            Some(word) if word.eq_ignore_ascii_case("http") => Scheme::Http,
            _ => parts.extensions.get().copied().unwrap_or_default(),
        };
        let named = config.hosts.find(&authority.host);
        Some(Self { scheme, authority, named, public_url: config.public_url.clone() })
    }

    /// Somebody who has come without being addressed.
    pub(crate) fn unknown() -> Self {
        let authority = Authority { host: "localhost".into(), port: None };
        Self { scheme: Scheme::Http, authority, named: None, public_url: None }
    }

    /// How they came.
    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port as they wrote them.
    pub(crate) fn authority_text(&self) -> String {
        self.authority.to_string()
    }

    /// Whether they came by a name of the machine on which they are.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.authority.host)
    }

    /// Whether an origin is this very server, as they reached it or as the owner says that one reaches it.
    pub(crate) fn is_at(&self, origin: &Origin) -> bool {
        origin.is_at(&self.authority) || self.public_authority().is_some_and(|public| origin.is_at(&public))
    }

    /// Whether the name they used cannot be a stranger's that leads here: a stranger's web page, opened under a name
    /// whose address was changed to this server's, is of the same origin as this server to a browser.
    pub(crate) fn is_surely_ours(&self) -> bool {
        let host = self.authority.host.as_str();
        // what ends in a number is an IPv4 address, 127.1 too: no name does
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        let address = host.starts_with('[') || host.rsplit('.').next().is_some_and(is_number);
        // nobody can register a name below these; `test` is for tests, in which anybody may choose
        let private = ["localhost", "local", "lan", "internal", "home.arpa"];
        let below = |name: &&str| host.strip_suffix(*name).is_some_and(|before| before.ends_with('.'));
        address
            || !host.contains('.')
            || private.iter().any(below)
            || self.named.is_some()
            || self.public_authority().is_some_and(|public| public.host == host)
    }

    /// The URL of a path of a service, `path` beginning with a slash.
    pub fn url(&self, service: Service, path: &str) -> String {
        let scheme = self.scheme.as_str();
        if let Some((_, family)) = &self.named {
            let port = self.authority.port.map_or(String::new(), |port| format!(":{port}"));
            return format!("{scheme}://{}{port}{path}", family.host(service));
        }
        let base = match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{scheme}://{}", self.authority),
        };
        format!("{base}{}{path}", service.prefix())
    }
}

/// What a proxy in front of us says, where the owner says that there is one. Of several the first counts: that is the
/// caller's.
fn forwarded<'a>(parts: &'a Parts, config: &Config, name: &str) -> Option<&'a str> {
    let header = parts.headers.get(name).filter(|_| config.trusted_proxy)?;
    header.to_str().ok()?.split(',').next().map(str::trim).filter(|value| !value.is_empty())
}

/// The host that a request is for. In an absolute URL it goes over the header (RFC 9112, 3.2.2); two headers are none.
fn named(parts: &Parts) -> Option<&str> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str());
    }
    let mut headers = parts.headers.get_all(header::HOST).iter();
    match (headers.next(), headers.next()) {
        (Some(host), None) => host.to_str().ok(),
        // HTTP/1.0 knows no Host
        (None, _) if parts.version <= Version::HTTP_10 => Some("localhost"),
        _ => None,
    }
}

/// Rewrites the path to its service's prefix and remembers the caller.
pub(crate) async fn address(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(caller) = Caller::of(&parts, &state.config) else {
        return Refusal::plain(400, "The Host header must name this server once, such as fal.run or 127.0.0.1:8787")
            .into_response();
    };
    let by_proxy = parts.uri.path() == PROXY_ROUTE;
    let path = if by_proxy {
        match proxied(&parts, &caller, &state.config.hosts) {
            Ok(path) => Some(path),
            Err(refusal) => return refusal,
        }
    } else {
        path_of_host(&parts, &caller)
    };
    if let Some(path) = path {
        parts.uri = Uri::from(path);
    }
    // honoured on the proxy route and nowhere else
    parts.headers.remove(TARGET);
    parts.extensions.insert(caller);
    let stranger = by_proxy && !parts.headers.contains_key(header::AUTHORIZATION);
    let response = next.run(Request::from_parts(parts, body)).await;
    if stranger { as_proxy(response) } else { response }
}

/// The path with the prefix of the service that the host stands for; `None` where it can stay.
fn path_of_host(parts: &Parts, caller: &Caller) -> Option<PathAndQuery> {
    let (service, _) = caller.named.as_ref()?;
    below(*service, &parts.uri)
}

/// Path and query of a URL, below a service's prefix. In `https://fal.run?x=1` the path is a slash that nobody wrote.
fn below(service: Service, uri: &Uri) -> Option<PathAndQuery> {
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    format!("{}{}{query}", service.prefix(), uri.path()).parse().ok()
}

/// Where a request on the proxy route goes.
fn proxied(parts: &Parts, caller: &Caller, hosts: &Hosts) -> Result<PathAndQuery, Response> {
    if ![Method::GET, Method::POST, Method::PUT, Method::DELETE].contains(&parts.method) {
        return Err(Refusal::plain(405, "The proxy takes GET, POST, PUT and DELETE").into_response());
    }
    let path = target(&parts.headers).and_then(|target| proxy_path(target, caller, hosts));
    path.ok_or_else(|| (StatusCode::BAD_REQUEST, axum::Json("Invalid request")).into_response())
}

/// The target, if there is exactly one.
fn target(headers: &HeaderMap) -> Option<&str> {
    let mut targets = headers.get_all(TARGET).iter();
    let target = targets.next()?;
    if targets.next().is_some() {
        return None;
    }
    target.to_str().ok()
}

/// The path behind a proxy target: an https URL on one of fal's hosts, or one of this server's own. Nothing else, and
/// the URL is never opened: this is no relay.
pub(crate) fn proxy_path(target: &str, caller: &Caller, hosts: &Hosts) -> Option<PathAndQuery> {
    let uri: Uri = target.parse().ok()?;
    let authority = Authority::parse(uri.authority()?.as_str())?;
    if uri.scheme_str() == Some("https")
        && authority.port.is_none()
        && let Some((service, _)) = hosts.find(&authority.host)
    {
        let open = service != Service::Platform || is_catalogue(uri.path());
        return open.then(|| below(service, &uri))?;
    }
    let own = authority == caller.authority || caller.public_authority().as_ref() == Some(&authority);
    (own && Service::has_path(uri.path())).then(|| below(Service::Platform, &uri))?
}

/// What programs ask fal's platform for; the pages for people are not for proxies.
pub(crate) fn is_catalogue(path: &str) -> bool {
    ["/v1/", "/models/", "/api/openapi/"].iter().any(|prefix| path.starts_with(prefix))
}

impl Caller {
    fn public_authority(&self) -> Option<Authority> {
        Authority::parse(self.public_url.as_ref()?.parse::<Uri>().ok()?.authority()?.as_str())
    }
}

/// An answer as fal's proxies give it to those who show no key: who may not call reads `"Unauthorized"`. A 401 that is
/// the outcome of a request has that request's id and stays; so does what a service says about a wrong key.
fn as_proxy(response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED && !response.headers().contains_key(REQUEST_ID) {
        return (StatusCode::UNAUTHORIZED, axum::Json("Unauthorized")).into_response();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scheme: Scheme, authority: &str, public_url: Option<&str>) -> Caller {
        let authority = Authority::parse(authority).expect("an authority");
        let hosts = Hosts::with(&["img.example".to_owned()]).expect("a name");
        let named = hosts.find(&authority.host);
        Caller { scheme, authority, named, public_url: public_url.map(str::to_owned) }
    }

    #[test]
    fn urls_look_like_the_address_that_was_used() {
        let url = |scheme, authority: &str, public: Option<&str>| {
            caller(scheme, authority, public).url(Service::Queue, "/fal-ai/flux/requests/1")
        };
        let (http, https) = (Scheme::Http, Scheme::Https);
        assert_eq!(url(http, "127.0.0.1:8787", None), "http://127.0.0.1:8787/queue/fal-ai/flux/requests/1");
        assert_eq!(url(https, "[::1]:8787", None), "https://[::1]:8787/queue/fal-ai/flux/requests/1");
        assert_eq!(url(https, "fal.run", Some("http://x")), "https://queue.fal.run/fal-ai/flux/requests/1");
        assert_eq!(url(http, "queue.falrun.com:8443", None), "http://queue.fal.run:8443/fal-ai/flux/requests/1");
        assert_eq!(url(https, "img.example", None), "https://queue.img.example/fal-ai/flux/requests/1");
        assert_eq!(
            url(http, "10.0.0.1", Some("https://x.example/s/")),
            "https://x.example/s/queue/fal-ai/flux/requests/1"
        );
        assert_eq!(caller(https, "fal.run", None).url(Service::Platform, "/v1/models"), "https://api.fal.ai/v1/models");
        assert_eq!(caller(http, "h:1", None).url(Service::Platform, "/v1/models"), "http://h:1/v1/models");
    }

    #[test]
    fn a_proxy_target_is_a_service_or_nothing() {
        let us = caller(Scheme::Http, "localhost:1", Some("https://pub.example"));
        let path = |target: &str| proxy_path(target, &us, &Hosts::default()).map(|p| p.to_string());
        assert_eq!(path("https://fal.run/fal-ai/flux/dev?x=1"), Some("/run/fal-ai/flux/dev?x=1".into()));
        assert_eq!(path("https://queue.fal.run/a/b"), Some("/queue/a/b".into()));
        assert_eq!(path("https://queue.fal.run?a/b"), Some("/queue/?a/b".into()));
        assert_eq!(path("https://queue.fal.run"), Some("/queue/".into()));
        assert_eq!(path("http://localhost:1/queue/a/b"), Some("/queue/a/b".into()));
        assert_eq!(path("https://pub.example/queue/a/b?logs=1"), Some("/queue/a/b?logs=1".into()));
        assert_eq!(path("https://api.fal.ai/v1/models?limit=1"), Some("/v1/models?limit=1".into()));
        for refused in [
            "http://fal.run/a/b",
            "https://fal.run:22/a/b",
            "https://evil@fal.run/a/b",
            "https://fal.run.evil.com/a",
            "https://example.com/run/a/b",
            "https://fal.ai/keys",
            "http://localhost:1/keys",
            "http://localhost:2/run/a/b",
            "http://169.254.169.254/run/a",
            "/run/a/b",
            "",
        ] {
            assert_eq!(path(refused), None, "{refused}");
        }
    }
}
