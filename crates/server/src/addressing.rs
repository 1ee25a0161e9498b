//! Which of fal's services a request is for, and where its caller thinks we are.
//!
//! `POST /{id}` means *run* on one host and *submit* on another, so the path alone does not tell. One port answers for
//! all services: by `Host` (users who redirect by DNS or `HTTPS_PROXY`), by path prefix (users who set a base URL), or by
//! the target in `x-fal-target-url` on the proxy route. Anything else on an unknown host is this server's own path.
//!
//! A proxy may show this server below a path of its own. It takes that away and says so in `X-Forwarded-Prefix`, or
//! leaves it in the path, where the owner has named it (`base_path`). Inside there are paths without it only.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::answer::{REQUEST_ID, Refusal};
use crate::config::Config;
pub(crate) use crate::hosts::Service;
use crate::hosts::{Authority, Family, Hosts};
use crate::listen::Crowded;
use crate::middleware::wrong_method;
use crate::origins::{Origin, is_loopback};
use crate::prefix::Prefix;
use crate::routes;
use crate::state::AppState;

/// The route that browsers and servers use as a proxy to fal.
pub(crate) const PROXY_ROUTE: &str = "/api/fal/proxy";
const TARGET: &str = "x-fal-target-url";
const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

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
    /// The path below which a proxy shows this server.
    prefix: Prefix,
    /// The owner's word on where this server is.
    public_url: Option<String>,
}

/// What keeps a request from being for anybody.
#[derive(Debug)]
pub(crate) enum Unaddressed {
    /// The host it names is none.
    Host,
    /// The prefix that a proxy names is none.
    Prefix,
}

impl Caller {
    /// The caller of a request.
    pub(crate) fn of(parts: &Parts, config: &Config) -> Result<Self, Unaddressed> {
        let host = forwarded(parts, config, "x-forwarded-host").or_else(|| named(parts));
        let authority = host.and_then(Authority::parse).ok_or(Unaddressed::Host)?;
        let scheme = match forwarded(parts, config, "x-forwarded-proto") {
            Some(word) if word.eq_ignore_ascii_case("https") => Scheme::Https,
            Some(word) if word.eq_ignore_ascii_case("http") => Scheme::Http,
            _ => parts.extensions.get().copied().unwrap_or_default(),
        };
        let named = config.hosts.find(&authority.host);
        let stripped = stripped(parts, config).ok_or(Unaddressed::Prefix)?;
        // what is below a path is a server, and not one of its services
        let named = named.filter(|_| stripped.is_empty());
        let kept = named.is_none() && is_below(&config.base_path, parts.uri.path());
        let prefix = if kept { stripped.then(&config.base_path).ok_or(Unaddressed::Prefix)? } else { stripped };
        Ok(Self { scheme, authority, named, prefix, public_url: config.public_url.clone() })
    }

    /// Somebody who has come without being addressed.
    pub(crate) fn unknown() -> Self {
        let authority = Authority { host: "localhost".into(), port: None };
        Self { scheme: Scheme::Http, authority, named: None, prefix: Prefix::default(), public_url: None }
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
            None => format!("{scheme}://{}{}", self.authority, self.prefix),
        };
        format!("{base}{}{path}", service.prefix())
    }

    /// The path in front of this server's own paths, without a slash at the end: empty but behind a proxy that adds one.
    pub(crate) fn base(&self) -> String {
        let url = self.url(Service::Platform, "");
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or_else(String::new, |at| rest[at..].trim_end_matches('/').to_owned())
    }
}

/// The prefix that proxies have taken away, where the owner says that there are some; `None` where it is no path. Each
/// adds its own behind those of the proxies before it.
fn stripped(parts: &Parts, config: &Config) -> Option<Prefix> {
    let mut prefix = Prefix::default();
    for header in parts.headers.get_all(FORWARDED_PREFIX).iter().filter(|_| config.trusted_proxy) {
        for part in header.to_str().ok()?.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            prefix = prefix.joined(&Prefix::parse(part)?)?;
        }
    }
    Some(prefix)
}

/// Whether a path begins with the base path that the owner has named. An endpoint whose own id does so is called by it.
fn is_below(base_path: &Prefix, path: &str) -> bool {
    let id = path.trim_matches('/');
    let id = routes::stream_of(id).unwrap_or_else(|| routes::realtime_of(id));
    base_path.strip(path).is_some() && scumble_api::find(id).is_none()
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
    let caller = match Caller::of(&parts, &state.config) {
        Ok(caller) => caller,
        Err(why) => {
            let path = parts.uri.path();
            let path = state.config.base_path.strip(path).unwrap_or(path);
            return routes::refused_as_asked(path, unaddressed(&why));
        }
    };
    if caller.named.is_none()
        && let Some(rest) = state.config.base_path.strip(parts.uri.path())
        && is_below(&state.config.base_path, parts.uri.path())
    {
        if rest.is_empty() && [Method::GET, Method::HEAD].contains(&parts.method) {
            return to_the_slash(&caller, &parts.uri);
        }
        match own_path(rest, &parts.uri) {
            Some(path) => parts.uri = Uri::from(path),
            None => return Refusal::plain(400, "The path of this request cannot be read").into_response(),
        }
    }
    if let Some(crowded) = parts.extensions.get::<Crowded>()
        && !["/health", "/ready"].contains(&parts.uri.path())
    {
        return routes::refused_as_asked(parts.uri.path(), too_crowded(*crowded));
    }
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

/// Path and query without a prefix.
fn own_path(rest: &str, uri: &Uri) -> Option<PathAndQuery> {
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let path = if rest.is_empty() { "/" } else { rest };
    format!("{path}{query}").parse().ok()
}

/// The first page has a slash at its end: only below it a browser sends the cookie of somebody who has signed in.
fn to_the_slash(caller: &Caller, uri: &Uri) -> Response {
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    Redirect::permanent(&format!("{}/{query}", caller.base())).into_response()
}

fn unaddressed(why: &Unaddressed) -> Refusal {
    let detail = match why {
        Unaddressed::Host => "The Host header must name this server once, such as fal.run or 127.0.0.1:8787",
        Unaddressed::Prefix => "X-Forwarded-Prefix must be the path that the proxy has taken away, such as /scumble",
    };
    Refusal::plain(400, detail)
}

/// For a connection that has come when there were too many.
fn too_crowded(crowded: Crowded) -> Refusal {
    let (status, detail) = match crowded {
        Crowded::Server => (503, "All connections of this server are taken; try again in a moment"),
        Crowded::Address => (429, "All connections of your address to this server are taken; close some, or try again"),
    };
    Refusal::plain(status, detail).with("retry-after", "1")
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
        return Err(wrong_method("GET, POST, PUT, DELETE").into_response());
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
    let base = Prefix::parse(&format!("{}/", caller.base())).unwrap_or_default();
    let path = base.strip(uri.path()).unwrap_or_else(|| uri.path());
    (own && Service::has_path(path)).then(|| own_path(path, &uri))?
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
        Caller { scheme, authority, named, prefix: Prefix::default(), public_url: public_url.map(str::to_owned) }
    }

    fn config(base_path: &str, trusted_proxy: bool) -> Config {
        let base_path = Prefix::parse(base_path).expect("a path");
        Config { base_path, trusted_proxy, ..Config::default() }
    }

    /// Where files are, for who asks for this path of a host with these prefixes said by a proxy.
    fn files(config: &Config, host: &str, path: &str, prefixes: &[&str]) -> Option<String> {
        let builder = Request::builder().uri(path).header("host", host);
        let request = prefixes.iter().fold(builder, |builder, prefix| builder.header(FORWARDED_PREFIX, *prefix));
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        Some(Caller::of(&parts, config).ok()?.url(Service::Cdn, ""))
    }

    #[test]
    fn a_prefix_is_the_proxys_or_the_owners_and_never_a_strangers() {
        let of = |config: &Config, path: &str, prefixes: &[&str]| files(config, "h:1", path, prefixes);
        let (open, trusting) = (config("/", false), config("/", true));
        assert_eq!(of(&open, "/queue/a/b", &["/evil"]), Some("http://h:1/cdn".into()), "a stranger's word");
        assert_eq!(of(&trusting, "/queue/a/b", &["/scumble/"]), Some("http://h:1/scumble/cdn".into()));
        assert_eq!(of(&trusting, "/queue/a/b", &["/a", "/b, /c"]), Some("http://h:1/a/b/c/cdn".into()));
        assert_eq!(of(&trusting, "/queue/a/b", &["/", ""]), Some("http://h:1/cdn".into()));
        assert_eq!(of(&trusting, "/queue/a/b", &["//evil.test"]), None);
        assert_eq!(of(&trusting, "/queue/a/b", &["/a", "/b;c"]), None);
        let kept = config("/scumble", false);
        assert_eq!(of(&kept, "/scumble/queue/a/b", &[]), Some("http://h:1/scumble/cdn".into()));
        assert_eq!(of(&kept, "/queue/a/b", &[]), Some("http://h:1/cdn".into()), "past the proxy");
        assert_eq!(of(&kept, "/scumbled/queue", &[]), Some("http://h:1/cdn".into()));
        for endpoint in ["/scumble/starter", "/scumble/starter/stream", "/scumble/starter/realtime"] {
            assert_eq!(of(&kept, endpoint, &[]), Some("http://h:1/cdn".into()), "{endpoint} is an endpoint");
        }
        let both = config("/inner", true);
        assert_eq!(of(&both, "/inner/queue/a/b", &["/outer"]), Some("http://h:1/outer/inner/cdn".into()));
        assert_eq!(of(&both, "/inner/queue/a/b", &["/inner"]), Some("http://h:1/inner/cdn".into()), "named and kept");
    }

    #[test]
    fn names_of_services_have_no_base_path_of_the_owners() {
        let kept = config("/scumble", false);
        assert_eq!(files(&kept, "fal.run", "/scumble/starter", &[]), Some("http://v3.fal.media".into()));
        assert_eq!(files(&config("/", true), "fal.run", "/run/a/b", &["/s"]), Some("http://fal.run/s/cdn".into()));
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
    fn a_proxy_target_of_ours_may_have_our_prefix() {
        let us = Caller { prefix: Prefix::parse("/s").expect("a prefix"), ..caller(Scheme::Http, "localhost:1", None) };
        let path = |target: &str| proxy_path(target, &us, &Hosts::default()).map(|p| p.to_string());
        assert_eq!(path("http://localhost:1/s/queue/a/b?logs=1"), Some("/queue/a/b?logs=1".into()));
        assert_eq!(path("http://localhost:1/queue/a/b"), Some("/queue/a/b".into()));
        assert_eq!(path("http://localhost:1/s/keys"), None);
        let behind = caller(Scheme::Http, "localhost:1", Some("https://pub.example/sub/"));
        let path = |target: &str| proxy_path(target, &behind, &Hosts::default()).map(|p| p.to_string());
        assert_eq!(path("https://pub.example/sub/queue/a/b"), Some("/queue/a/b".into()));
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
