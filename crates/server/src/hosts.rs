//! Host names, and which of fal's services each stands for.

use std::net::Ipv6Addr;

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
    /// Catalogue and pages: this server's own paths.
    Platform,
}

/// fal's host names. The first of a service is the one that URLs name.
const FAL: &[(&str, Service)] = &[
    ("fal.run", Service::Run),
    ("falrun.com", Service::Run),
    ("queue.fal.run", Service::Queue),
    ("queue.falrun.com", Service::Queue),
    ("rest.fal.ai", Service::Rest),
    ("rest.alpha.fal.ai", Service::Rest),
    ("v3.fal.media", Service::Cdn),
    ("v3b.fal.media", Service::Cdn),
    ("ws.fal.run", Service::Ws),
    ("api.fal.ai", Service::Platform),
    ("fal.ai", Service::Platform),
];

/// What stands before a host name of the owner's, for each service. The Python client makes the queue's name like this
/// from `FAL_RUN_HOST`.
const OWN: &[(&str, Service)] = &[
    ("", Service::Run),
    ("queue.", Service::Queue),
    ("rest.", Service::Rest),
    ("cdn.", Service::Cdn),
    ("ws.", Service::Ws),
    ("api.", Service::Platform),
];

impl Service {
    const WITH_PREFIX: [Self; 5] = [Self::Run, Self::Queue, Self::Rest, Self::Cdn, Self::Ws];

    /// The path prefix of the service, with its slash; empty where the service's paths are this server's own.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Run => "/run",
            Self::Queue => "/queue",
            Self::Rest => "/rest",
            Self::Cdn => "/cdn",
            Self::Ws => "/ws",
            Self::Platform => "",
        }
    }

    /// Whether a path is below the prefix of any service.
    pub(crate) fn has_path(path: &str) -> bool {
        let below = |service: &Self| path.strip_prefix(service.prefix()).is_some_and(|rest| rest.starts_with('/'));
        Self::WITH_PREFIX.iter().any(below)
    }

    /// The service that one of fal's host names stands for.
    pub fn of_host(host: &str) -> Option<Self> {
        FAL.iter().find(|(name, _)| name.eq_ignore_ascii_case(host)).map(|(_, service)| *service)
    }
}

/// The host names that stand for services: fal's, and those of the owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    own: Vec<String>,
}

/// Whose names a caller uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Fal,
    /// One of the owner's, by its name for direct calls.
    Own(String),
}

impl Family {
    /// The host name of a service.
    pub(crate) fn host(&self, service: Service) -> String {
        let named =
            |table: &[(&'static str, Service)]| table.iter().find(|(_, s)| *s == service).map_or("", |(name, _)| name);
        match self {
            Self::Fal => named(FAL).to_owned(),
            Self::Own(name) => format!("{}{name}", named(OWN)),
        }
    }
}

impl Hosts {
    /// fal's names, and for each of these names it and `queue.`, `rest.`, `cdn.`, `ws.` and `api.` before it.
    ///
    /// # Errors
    /// A name that is none.
    pub fn with(own: &[String]) -> Result<Self, String> {
        let valid = |name: &String| match Authority::parse(name) {
            Some(Authority { port: None, host }) if !host.starts_with('[') => Ok(host),
            _ => Err(format!("{name:?} is not a host name; expected one such as images.example.com, without port")),
        };
        Ok(Self { own: own.iter().map(valid).collect::<Result<_, _>>()? })
    }

    /// The service that a host name stands for, and whose name it is.
    pub(crate) fn find(&self, host: &str) -> Option<(Service, Family)> {
        if let Some(service) = Service::of_host(host) {
            return Some((service, Family::Fal));
        }
        let host = host.to_ascii_lowercase();
        self.own.iter().find_map(|name| {
            let before = host.strip_suffix(name.as_str())?;
            let (_, service) = OWN.iter().find(|(prefix, _)| *prefix == before)?;
            Some((*service, Family::Own(name.clone())))
        })
    }

    /// Whether this is one of the owner's names.
    pub(crate) fn is_own(&self, host: &str) -> bool {
        matches!(self.find(host), Some((_, Family::Own(_))))
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        let own = self.own.iter().flat_map(|name| OWN.iter().map(move |(prefix, _)| format!("{prefix}{name}")));
        FAL.iter().map(|(name, _)| (*name).to_owned()).chain(own).collect()
    }
}

/// Host and port as somebody wrote them, checked: nothing in it can end a URL or begin another header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// In lower case; IPv6 addresses in brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// `None` where this cannot be a server's name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            // a colon inside brackets belongs to the address
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = match port {
            Some(port) if digits(port) => Some(port.parse().ok()?),
            Some(_) => return None,
            None => None,
        };
        is_host(host).then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_hosts_and_ports_and_nothing_else() {
        let check = |text: &str, expected: Option<(&str, Option<u16>)>| {
            let found = Authority::parse(text);
            assert_eq!(found.as_ref().map(|a| (a.host.as_str(), a.port)), expected, "{text:?}");
        };
        check("fal.run", Some(("fal.run", None)));
        check("Queue.FAL.run:443", Some(("queue.fal.run", Some(443))));
        check("127.0.0.1:8787", Some(("127.0.0.1", Some(8787))));
        check("[::1]:8787", Some(("[::1]", Some(8787))));
        check("[::1]", Some(("[::1]", None)));
        check("scumble_1", Some(("scumble_1", None)));
        for bad in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:99999",
            "a:+1",
            "a b",
            "a/b",
            "a@b",
            "a?b",
            "a#b",
            "a..b",
            ".a",
            "a%00",
            "::1",
            "[::1",
            "[x]",
            "[]",
            "é.example",
            "a\"b",
            "<a>",
            "a,b",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(64), None);
        check(&vec!["a"; 128].join("."), None);
    }

    #[test]
    fn the_owners_names_follow_the_python_clients_rule() {
        let hosts = Hosts::with(&["Images.Example.com".to_owned()]).expect("a name");
        let service = |host: &str| hosts.find(host).map(|(service, _)| service);
        assert_eq!(service("images.example.com"), Some(Service::Run));
        assert_eq!(service("QUEUE.images.example.com"), Some(Service::Queue));
        assert_eq!(service("cdn.images.example.com"), Some(Service::Cdn));
        assert_eq!(service("api.images.example.com"), Some(Service::Platform));
        assert_eq!(service("other.images.example.com"), None);
        assert_eq!(service("xqueue.images.example.com"), None);
        assert_eq!(service("falrun.com"), Some(Service::Run));
        let (_, family) = hosts.find("images.example.com").expect("ours");
        assert_eq!(family.host(Service::Rest), "rest.images.example.com");
        assert_eq!(Family::Fal.host(Service::Cdn), "v3.fal.media");
        for bad in ["a:80", "[::1]", "https://a", "", "a/b"] {
            assert!(Hosts::with(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
