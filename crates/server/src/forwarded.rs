//! Where a request comes from: who has opened the connection, and what proxies say about those before them.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use crate::config::Config;

/// Who has opened the connection; an extension of the request, put there by the listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Headers in which proxies say for whom they ask.
const FOR: [&str; 6] =
    ["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip"];
/// One in which they say only that they do.
const VIA: &str = "via";

/// The header by which a request shows that it came through a proxy.
pub(crate) fn trace(headers: &HeaderMap) -> Option<&'static str> {
    FOR.into_iter().chain([VIA]).find(|name| headers.contains_key(*name))
}

/// For whom proxies say that they ask; those nearest to us come last in each header. `None` is somebody without an
/// address.
pub(crate) fn clients(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    FOR.into_iter().flat_map(|name| named_in(headers, name)).collect()
}

fn named_in(headers: &HeaderMap, name: &str) -> Vec<Option<IpAddr>> {
    let texts = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let hops = texts.flat_map(|text| text.split(','));
    if name == "forwarded" { hops.filter_map(hop).collect() } else { hops.map(address).collect() }
}

/// What a hop of `Forwarded` says (RFC 7239), if it says for whom: `for="[::1]:4711";proto=http`.
fn hop(text: &str) -> Option<Option<IpAddr>> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(address(node))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// The address of whoever calls, as well as it is known: what the nearest proxy says where the owner trusts one.
pub(crate) fn caller(extensions: &Extensions, headers: &HeaderMap, config: &Config) -> Option<IpAddr> {
    let said = || FOR.into_iter().find_map(|name| named_in(headers, name).pop())?;
    let peer = || extensions.get::<Peer>().map(|Peer(address)| address.to_canonical());
    config.trusted_proxy.then(said).flatten().or_else(peer)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn proxies_name_their_clients_in_many_ways() {
        let named = |name, value| {
            let found = clients(&headers(&[(name, value)]));
            found.iter().map(|a| a.map_or("?".to_owned(), |a| a.to_string())).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named("x-forwarded-for", "203.0.113.7, 10.0.0.1"), "203.0.113.7 10.0.0.1");
        assert_eq!(named("x-forwarded-for", "203.0.113.7:4711,[2001:db8::1]:80, ::1"), "203.0.113.7 2001:db8::1 ::1");
        assert_eq!(named("x-forwarded-for", "unknown, ::ffff:127.0.0.1"), "? 127.0.0.1");
        assert_eq!(named("x-real-ip", "127.0.0.1"), "127.0.0.1");
        assert_eq!(named("forwarded", "For=\"[::1]:4711\";proto=http, for=203.0.113.7;by=10.0.0.1"), "::1 203.0.113.7");
        assert_eq!(named("forwarded", "for=_hidden, proto=https"), "?");
        assert_eq!(named("via", "1.1 proxy"), "");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_the_nearest_at_that() {
        let mut extensions = Extensions::new();
        extensions.insert(Peer([127, 0, 0, 1].into()));
        let forged = headers(&[("x-forwarded-for", "198.51.100.1, 203.0.113.7")]);
        let of = |trusted_proxy, headers: &HeaderMap| {
            let config = Config { trusted_proxy, ..Config::default() };
            caller(&extensions, headers, &config).map(|address| address.to_string())
        };
        assert_eq!(of(false, &forged).as_deref(), Some("127.0.0.1"));
        assert_eq!(of(true, &forged).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(true, &HeaderMap::new()).as_deref(), Some("127.0.0.1"));
    }
}
