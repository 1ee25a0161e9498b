//! Web origins: where a page is from, as browsers say it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::hosts::Authority;

/// The origins whose pages may use a server without keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Origins {
    /// These, each as a browser writes it: `https://app.example.com`.
    ///
    /// # Errors
    /// One that is none.
    pub fn with(origins: &[String]) -> Result<Self, String> {
        origins.iter().map(|text| Origin::listed(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this one is among them.
    pub(crate) fn have(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }
}

/// Scheme, host and port. The port that a scheme has anyway is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    /// What an `Origin` header says; `None` for `null`, and for everything else that names no place.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(letter);
        let scheme = is_scheme.then(|| scheme.to_ascii_lowercase())?;
        let authority = without_usual_port(&scheme, Authority::parse(authority)?);
        Some(Self { scheme, authority })
    }

    /// One that the owner has written.
    fn listed(text: &str) -> Result<Self, String> {
        if matches!(text, "*" | "null") {
            return Err(format!(
                "{text:?} would let every site that somebody visits use this server; name the sites, such as \
                 https://app.example.com, or make a key: then pages of any site may call that have it"
            ));
        }
        let origin = Self::parse(text.strip_suffix('/').unwrap_or(text));
        origin.ok_or_else(|| {
            format!("{text:?} is not an origin; expected scheme, host and port, such as https://app.example.com:8443")
        })
    }

    /// Whether its page is on this very machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.authority.host)
    }

    /// Its host.
    pub(crate) fn host(&self) -> &str {
        &self.authority.host
    }

    /// Whether host and port are these. The scheme may be another: one port answers both.
    pub(crate) fn is_at(&self, authority: &Authority) -> bool {
        self.authority == without_usual_port(&self.scheme, authority.clone())
    }
}

fn without_usual_port(scheme: &str, authority: Authority) -> Authority {
    let usual = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Authority { port: authority.port.filter(|port| Some(*port) != usual), ..authority }
}

/// Whether a host, as [`Authority`] has it, is the machine on which it is said.
pub(crate) fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || v6.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok_and(|a| a.to_canonical().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| assert_eq!(Origin::parse(a).expect(a), Origin::parse(b).expect(b));
        same("https://App.Example.com", "HTTPS://app.example.com:443");
        same("http://app.example.com:80", "http://app.example.com");
        assert_ne!(Origin::parse("http://app.example.com"), Origin::parse("https://app.example.com"));
        assert_ne!(Origin::parse("http://app.example.com:81"), Origin::parse("http://app.example.com"));
        for none in ["null", "", "file://", "app.example.com", "https://", "https://a/b", "https://a b", "://a"] {
            assert_eq!(Origin::parse(none), None, "{none}");
        }
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for host in ["localhost", "app.localhost", "127.0.0.1", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.evil.test", "notlocalhost", "128.0.0.1", "127.0.0.1.evil.test", "[::2]", "0.0.0.0", ""]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn the_owner_lists_sites_and_not_all_of_them() {
        let listed = |text: &str| Origins::with(&[text.to_owned()]);
        let app = Origin::parse("https://app.example.com").expect("an origin");
        assert!(listed("https://app.example.com/").expect("an origin").have(&app));
        assert!(!listed("https://app.example.com:8443").expect("an origin").have(&app));
        for (bad, word) in [
            ("*", "every site"),
            ("null", "every site"),
            ("app.example.com", "such as"),
            ("https://a/b", "such as"),
            ("", "such as"),
        ] {
            assert!(listed(bad).expect_err(bad).contains(word), "{bad}");
        }
    }
}
