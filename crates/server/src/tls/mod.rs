//! TLS: rustls with ring, with the owner's certificate or with one from a local authority.
//!
//! Either kind is renewed while the server runs: files are read again now and then, and a certificate of the local
//! authority is issued anew before it ends. When that fails the old one stays in use, and the log says why.

mod authority;
mod bundle;
mod error;
mod files;
mod validity;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use scumble_store::Clock;
use time::OffsetDateTime;

use crate::listen::H2;
pub use authority::Authority;
pub use bundle::write_bundle;
pub use error::Error;

/// How often files are read again: whoever renews them does so weeks before they end.
const FILES_AGAIN_MS: i64 = 10 * 60 * 1000;

/// Where certificates come from.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Source {
    /// The owner's PEM files.
    Files {
        /// The certificate and what stands between it and a known authority, the certificate first.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// The local authority.
    Local {
        /// The authority.
        authority: Authority,
        /// The names and addresses that the certificate is for.
        names: Vec<String>,
    },
}

/// What to serve HTTPS with.
///
/// # Errors
/// Files that cannot be read, do not fit together or have expired; names that the local authority must not vouch for.
pub fn config(source: Source, clock: Arc<dyn Clock>) -> Result<Arc<ServerConfig>, Error> {
    let held = RwLock::new(source.fetch(clock.now_ms())?);
    let certificate = Arc::new(Certificate { source, clock, held });
    let builder = ServerConfig::builder_with_provider(provider());
    let versions = builder.with_safe_default_protocol_versions().map_err(|e| Error::Make(e.to_string()))?;
    let mut config = versions.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whether the owner's files can be used now.
///
/// # Errors
/// Files that cannot be read, do not fit together or have expired.
pub fn check_files(cert: &Path, key: &Path, now_ms: i64) -> Result<(), Error> {
    files::read(cert, key, now_ms).map(drop)
}

/// Whether the owner's certificate is for this name.
///
/// # Errors
/// A file that cannot be read.
pub fn is_for(cert: &Path, name: &str) -> Result<bool, Error> {
    files::is_for(cert, name)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn moment(ms: i64) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(ms / 1000).map_err(|e| Error::Make(e.to_string()))
}

impl Source {
    fn fetch(&self, now_ms: i64) -> Result<Held, Error> {
        match self {
            Self::Files { cert, key } => {
                Ok(Held { key: Arc::new(files::read(cert, key, now_ms)?), until_ms: now_ms + FILES_AGAIN_MS })
            }
            Self::Local { authority, names } => {
                let (key, renew_ms) = authority.issue(names, now_ms)?;
                Ok(Held { key: Arc::new(key), until_ms: renew_ms })
            }
        }
    }
}

/// The certificate in use, renewed when its time has come.
struct Certificate {
    source: Source,
    clock: Arc<dyn Clock>,
    held: RwLock<Held>,
}

#[derive(Clone)]
struct Held {
    key: Arc<CertifiedKey>,
    /// When to look for a newer one.
    until_ms: i64,
}

impl Certificate {
    fn current(&self) -> Arc<CertifiedKey> {
        let now_ms = self.clock.now_ms();
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        if now_ms < held.until_ms {
            return held.key;
        }
        let fresh = self.source.fetch(now_ms).unwrap_or_else(|error| {
            tracing::error!(%error, "the certificate cannot be renewed; the old one stays in use");
            Held { key: held.key, until_ms: now_ms + FILES_AGAIN_MS }
        });
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh.key
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scumble_store::ManualClock;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    /// The end of a certificate's validity, in days from `since_ms`.
    fn days_left(key: &CertifiedKey, since_ms: i64) -> i64 {
        let until = validity::Validity::read(&key.cert[0]).expect("a certificate").until;
        (until.unix_timestamp() * 1000 - since_ms) / DAY_MS
    }

    #[test]
    fn a_local_certificate_is_issued_anew_before_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let start_ms = 1_800_000_000_000;
        let clock = Arc::new(ManualClock::at(start_ms));
        let names = vec!["fal.run".to_owned(), "127.0.0.1".to_owned()];
        let authority = Authority::open(folder.path(), &names, start_ms).expect("an authority");
        let source = Source::Local { authority, names };
        let held = RwLock::new(source.fetch(start_ms).expect("a certificate"));
        let certificate = Certificate { source, clock: clock.clone(), held };
        let first = certificate.current();
        clock.advance(59 * DAY_MS);
        assert!(Arc::ptr_eq(&first, &certificate.current()), "still good");
        clock.advance(2 * DAY_MS);
        let second = certificate.current();
        assert!(!Arc::ptr_eq(&first, &second), "renewed");
        assert_eq!((days_left(&first, start_ms), days_left(&second, start_ms)), (90, 151));
        // no certificate outlives its authority
        clock.advance(650 * DAY_MS);
        assert!(days_left(&certificate.current(), start_ms) <= 730);
    }
}
