//! What can be told of a URL by reading it.

use std::net::IpAddr;

use url::{Host, Position, Url};

use crate::{Error, Result, is_public};

/// Longest URL: more than any browser sends.
const LENGTH_MAX: usize = 8192;

/// Reads a URL and checks what can be checked without opening it: its form, and an address written in it.
///
/// The `url` crate reads addresses as browsers do, so `http://0x7f.1`, `http://2130706433` and `http://[::ffff:127.0.0.1]`
/// are seen for what they are. A name may still lead to a private address; that is found when it is opened.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Scheme`], [`Error::Credentials`], [`Error::Private`].
pub fn check_target(text: &str, allow_private: bool) -> Result<Url> {
    check(text, reach(allow_private))
}

/// Which addresses may be opened.
pub(crate) type Reach = fn(IpAddr) -> bool;

pub(crate) fn reach(allow_private: bool) -> Reach {
    if allow_private { |_| true } else { is_public }
}

pub(crate) fn check(text: &str, reach: Reach) -> Result<Url> {
    if text.len() > LENGTH_MAX {
        return Err(Error::Malformed { reason: format!("it is longer than {LENGTH_MAX} characters") });
    }
    check_url(Url::parse(text).map_err(|e| Error::Malformed { reason: e.to_string() })?, reach)
}

pub(crate) fn check_url(mut url: Url, reach: Reach) -> Result<Url> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::Scheme { scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Credentials);
    }
    if url.port() == Some(0) {
        return Err(Error::Malformed { reason: "there is no port 0".to_owned() });
    }
    // browsers keep it to themselves, and so do we
    url.set_fragment(None);
    let written = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(name)) if is_localhost(name) => Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        Some(Host::Domain(_)) => None,
        None => return Err(Error::Malformed { reason: "it has no host".to_owned() }),
    };
    match written {
        Some(address) if !reach(address) => Err(Error::Private { host: host(&url) }),
        _ => Ok(url),
    }
}

/// Names that mean this machine wherever they are looked up (RFC 6761).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The host of a URL for messages.
pub(crate) fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// The `Host` header for a URL: host, and the port where it is not the usual one.
pub(crate) fn authority(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// Path and query: what is asked of the host.
pub(crate) fn path_and_query(url: &Url) -> &str {
    &url[Position::BeforePath..Position::AfterQuery]
}

/// Path and query as they were written, where a request line can hold them: a signature may cover every letter, and what
/// `url` writes the other way round (dots, quotes) would break it.
pub(crate) fn verbatim(text: &str) -> Option<&str> {
    let text = text.trim();
    let (_, rest) = text.split_once("://")?;
    let rest = rest.split('#').next()?;
    let plain = rest.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let tail = rest.find(['/', '?']).map(|at| &rest[at..])?;
    (plain && tail.starts_with('/') && tail.parse::<hyper::http::uri::PathAndQuery>().is_ok()).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_seen_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "①27.0.0.1",
            "0",
            "0.0.0.0",
            "169.254.169.254",
            "2852039166",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:10.1.2.3]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fd00::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "api.localhost",
        ] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:8080/x");
                assert!(matches!(check_target(&url, false), Err(Error::Private { .. })), "{url}");
                assert!(check_target(&url, true).is_ok(), "{url}");
            }
        }
    }

    #[test]
    fn only_plain_web_urls_are_taken() {
        let check = |text: &str| check_target(text, true).map(String::from);
        assert_eq!(check("http://example.com"), Ok("http://example.com/".to_owned()));
        assert_eq!(check(" HTTPS://Example.COM:443/a?b=c#d\n"), Ok("https://example.com/a?b=c".to_owned()));
        for other in ["ftp://example.com/", "file:///etc/passwd", "data:,x", "javascript:alert(1)", "unix:/run/x"] {
            assert!(matches!(check(other), Err(Error::Scheme { .. })), "{other}");
        }
        for bad in ["", "example.com", "/etc/passwd", "http://", "http://[::1", "http://1.2.3.4.5.6.7/", "http://a:0/"]
        {
            assert!(matches!(check(bad), Err(Error::Malformed { .. })), "{bad}");
        }
        for secret in ["http://me@example.com/", "https://me:pass@example.com/", "http://:pass@example.com/"] {
            assert_eq!(check(secret), Err(Error::Credentials), "{secret}");
        }
        let long = format!("http://example.com/{}", "x".repeat(LENGTH_MAX));
        assert!(matches!(check(&long), Err(Error::Malformed { .. })));
    }

    #[test]
    fn signed_urls_keep_every_letter() {
        let kept = "/a%2Fb/../c%20d//e:f?se=2026-11-20T12%3A10%3A00Z&sig=a%2Bb'c&x=%zz";
        assert_eq!(verbatim(&format!("https://far.example{kept}#part")), Some(kept));
        for other in
            ["https://far.example", "https://far.example?a=b", "https://far.example/a b", "https://a\\@b/c", "a"]
        {
            assert_eq!(verbatim(other), None, "{other}");
        }
    }

    #[test]
    fn hosts_are_asked_as_browsers_ask_them() {
        let ask = |text: &str| {
            let url = check_target(text, true).expect("a URL");
            (authority(&url).to_owned(), path_and_query(&url).to_owned())
        };
        assert_eq!(ask("https://example.com:443?a=b"), ("example.com".into(), "/?a=b".into()));
        assert_eq!(ask("http://[::1]:8080/a b"), ("[::1]:8080".into(), "/a%20b".into()));
    }
}
