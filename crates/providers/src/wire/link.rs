//! Addresses, and who may get a key.

use scumble_fetch::Url;

/// An address, and whether the owner configured where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Sent as it is written.
    pub(crate) url: String,
    /// Then private addresses are fine.
    pub(crate) own: bool,
}

/// Where a maker is, as the owner configured it.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    text: String,
    url: Url,
}

impl Base {
    /// Reads `base_url`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = scumble_fetch::check_target(text, true).map_err(|e| e.to_string())?;
        if url.query().is_some() {
            return Err("it has a query; give scheme, host and path only".to_owned());
        }
        Ok(Self { text: text.trim().trim_end_matches('/').to_owned(), url })
    }

    /// A path at this maker.
    pub(crate) fn at(&self, path: &str) -> Link {
        Link { url: format!("{}{path}", self.text), own: true }
    }

    /// Whether an address is of the same scheme, host and port.
    pub(crate) fn is_origin_of(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| url.origin() == self.url.origin())
    }

    /// Whether an address is another port of the machine itself, and the owner's maker is there too: a stand-in.
    pub(crate) fn is_beside(&self, url: &str) -> bool {
        let loopback = |url: &Url| match url.host() {
            Some(scumble_fetch::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(scumble_fetch::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(scumble_fetch::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        loopback(&self.url)
            && Url::parse(url).is_ok_and(|url| loopback(&url) && matches!(url.scheme(), "http" | "https"))
    }
}

/// Whether an address is `https` at a domain or below it.
pub(crate) fn is_under(url: &str, domain: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default();
    let below = host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    url.scheme() == "https" && below && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_they_belong() {
        let base = Base::parse("https://api.bfl.ai/").expect("a base");
        assert_eq!(base.at("/v1/x").url, "https://api.bfl.ai/v1/x");
        assert!(base.is_origin_of("https://api.bfl.ai/v1/get_result?id=1"));
        for other in
            ["http://api.bfl.ai/", "https://api.bfl.ai:444/", "https://api.eu.bfl.ai/", "https://api.bfl.ai.evil/"]
        {
            assert!(!base.is_origin_of(other), "{other}");
        }
        for good in ["https://bfl.ai/a", "https://api.eu4.bfl.ai/v1?id=a%2Fb", "https://API.BFL.AI/"] {
            assert!(is_under(good, "bfl.ai"), "{good}");
        }
        for bad in [
            "http://api.bfl.ai/",
            "https://evilbfl.ai/",
            "https://bfl.ai.evil.example/",
            "https://evil.example/?https://api.bfl.ai/",
            "https://evil.example#bfl.ai",
            "https://me:pw@api.bfl.ai/",
            "https://api.bfl.ai@evil.example/",
            "https://evil.example\\.bfl.ai/",
            "bfl.ai",
        ] {
            assert!(!is_under(bad, "bfl.ai"), "{bad}");
        }
        assert!(!base.is_beside("http://127.0.0.1:1/"));
        let here = Base::parse("http://127.0.0.1:9000").expect("a base");
        assert!(here.is_beside("http://127.0.0.1:9001/x") && here.is_beside("http://localhost:1/"));
        assert!(!here.is_beside("http://10.0.0.1/") && !here.is_beside("https://example.com/"));
        for bad in ["", "api.bfl.ai", "ftp://api.bfl.ai", "https://me:pw@api.bfl.ai", "https://api.bfl.ai?key=1"] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }
}
