//! Where to listen, as people type it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde::Deserialize;

use crate::failure::Failure;

/// `127.0.0.1:8787`, `[::1]:8787`, `8787`, `:8787`, `localhost:8787`, `name:8787`. A port alone is a port of this machine
/// and of nobody else: whoever wants more says `0.0.0.0:8787`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// An address.
    Address(SocketAddr),
    /// A name, looked up when it is needed.
    Name(String, u16),
}

/// In scumble.toml a port may be a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an address and a port such as \"127.0.0.1:8787\", or a port such as 8787")]
enum Written {
    Port(u16),
    Text(String),
}

impl Listen {
    /// Reads what was typed. Nothing is looked up.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not an address to listen on; expected a port (8787, for programs on this machine), or an \
                 address and a port (127.0.0.1:8787, [::1]:8787, localhost:8787; 0.0.0.0:8787 for everybody)"
            )
        };
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        // `parse` alone would take +8787
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        match host {
            // not the machine's IPv6 loopback: clients that try it first go on to this one
            "" | "localhost" => Ok(Self::Address((Ipv4Addr::LOCALHOST, port).into())),
            host if host.chars().all(named) && host.parse::<Ipv4Addr>().is_err() => Ok(Self::Name(host.into(), port)),
            _ => Err(wrong()),
        }
    }

    /// The address: of a name that has several, the first of IPv4, else the first.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, Failure> {
        let (name, port) = match self {
            Self::Address(address) => return Ok(*address),
            Self::Name(name, port) => (name, *port),
        };
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let hint = "give --listen an address of this machine, such as 127.0.0.1:8787";
        let found = found.map_err(|e| Failure::System(format!("cannot find the address of {name}: {e}; {hint}")))?;
        let first = found.iter().find(|address| matches!(address.ip(), IpAddr::V4(_))).or(found.first());
        first.copied().ok_or_else(|| Failure::System(format!("{name} has no address; {hint}")))
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Written::deserialize(deserializer)? {
            Written::Port(port) => port.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_machine() {
        let address = |text: &str| Listen::parse(text).ok().and_then(|listen| listen.resolve().ok());
        for (text, expected) in [
            ("8899", "127.0.0.1:8899"),
            (":8899", "127.0.0.1:8899"),
            ("localhost:8899", "127.0.0.1:8899"),
            ("127.0.0.1:8899", "127.0.0.1:8899"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:8899", "[::1]:8899"),
        ] {
            assert_eq!(address(text), expected.parse().ok(), "{text}");
        }
        assert_eq!(Listen::parse("images.test:80"), Ok(Listen::Name("images.test".into(), 80)));
        for bad in [
            "",
            ":",
            "nowhere",
            "localhost",
            "127.0.0.1",
            "::1",
            "1.2.3.4:",
            "a b:80",
            ":65536",
            "+80",
            "x:+80",
            "http://h:80",
        ] {
            let refused = Listen::parse(bad).expect_err(bad);
            assert!(refused.contains("expected a port") && refused.contains(bad), "{refused}");
        }
    }
}
