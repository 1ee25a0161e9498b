//! The authorities that this machine trusts, with the local one among them.

use std::path::{Path, PathBuf};

use super::Error;

/// Where systems keep the authorities they trust, in one file.
const SYSTEMS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // macOS, BSD
];

/// Writes `bundle.pem` beside the authority's `ca.pem`: the system's authorities and ours.
///
/// `SSL_CERT_FILE` replaces what Python trusts instead of adding to it, so a file with nothing but our authority would
/// cut a program off from everything else. `None` where the system's file is not known.
///
/// # Errors
/// The file cannot be written.
pub fn write_bundle(ca: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(system) = SYSTEMS.iter().find_map(|path| std::fs::read_to_string(path).ok()) else { return Ok(None) };
    let own =
        std::fs::read_to_string(ca).map_err(|source| Error::File { what: "read", path: ca.to_owned(), source })?;
    let (path, aside) = (ca.with_file_name("bundle.pem"), ca.with_file_name(format!("bundle.{}", std::process::id())));
    let written = std::fs::write(&aside, format!("{}\n{own}", system.trim_end()));
    let placed = written.and_then(|()| std::fs::rename(&aside, &path));
    placed.map_err(|source| Error::File { what: "write", path: path.clone(), source })?;
    Ok(Some(path))
}
