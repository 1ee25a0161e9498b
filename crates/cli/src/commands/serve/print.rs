//! What `serve` prints: where it listens, and what programs need in order to find and trust it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::https::Https;
use crate::out;
use crate::settings::Settings;

/// A worker that nobody calls says that it is there.
pub(super) fn worker() {
    print("Scumble works");
}

/// Where the metrics are, with the real port.
pub(super) fn metrics(address: SocketAddr) {
    print(&format!("Metrics are at http://{address}/metrics"));
}

/// The addresses come first; scripts wait for them and read the port, which is real even where 0 was asked for.
pub(super) fn addresses(address: SocketAddr, https: Option<&Https>, settings: &Settings) {
    print(&format!("Scumble listens on http://{address}"));
    let Some(https) = https else { return };
    let here = reachable(address);
    let mut lines = vec![format!("Scumble listens on https://{address}")];
    if let Some(trust) = &https.local {
        lines.push("Programs trust its certificates with:".into());
        lines.push(format!("  export NODE_EXTRA_CA_CERTS={}", shell_word(&trust.ca)));
        match &trust.bundle {
            Some(bundle) => lines.push(format!("  export SSL_CERT_FILE={}", shell_word(bundle))),
            None => {
                lines.push(format!("  export SSL_CERT_FILE={}", shell_word(&trust.ca)));
                lines.push("  (Python then trusts this server and no other)".into());
            }
        }
    }
    // no program takes another certificate for fal's
    if https.is_fals && settings.connect {
        lines.push("Programs find it as fal.run, without further changes, with:".into());
        lines.push(format!("  export HTTPS_PROXY=http://{here}"));
    }
    if https.is_fals {
        lines.push(
            "To be fal.run for the whole machine, it must listen on port 443, and this line must be in /etc/hosts:"
                .into(),
        );
        lines.push(format!("  {} {}", here.ip(), settings.server.hosts.names().join(" ")));
    }
    print(&lines.join("\n"));
}

/// A server works on where nobody reads what it says.
fn print(lines: &str) {
    let _ = out::result(lines);
}

/// How this machine reaches what listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A path as one word of a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(shell_word(Path::new("/var/lib/scumble/tls/ca.pem")), "/var/lib/scumble/tls/ca.pem");
        assert_eq!(shell_word(Path::new("/it's here")), r"'/it'\''s here'");
    }

    #[test]
    fn all_addresses_are_reached_through_loopback() {
        let reach = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(reach("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reach("[::]:1"), "[::1]:1");
        assert_eq!(reach("10.0.0.7:1"), "10.0.0.7:1");
    }
}
