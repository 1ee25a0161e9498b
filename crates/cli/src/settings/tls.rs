//! What HTTPS is served with.

use std::path::PathBuf;

use super::sections::TlsSection;
use crate::failure::Failure;

/// A certificate, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) enum Tls {
    /// The owner's files.
    Files { cert: PathBuf, key: PathBuf },
    /// An authority of this machine.
    Local,
}

pub(super) fn choose(local: bool, files: Option<&TlsSection>) -> Result<Option<Tls>, Failure> {
    match (local, files) {
        (true, Some(_)) => {
            Err(Failure::Usage("--tls-dev and [server] tls both say which certificate to use; choose one".into()))
        }
        (true, None) => Ok(Some(Tls::Local)),
        (false, Some(TlsSection { cert, key })) => Ok(Some(Tls::Files { cert: cert.clone(), key: key.clone() })),
        (false, None) => Ok(None),
    }
}
