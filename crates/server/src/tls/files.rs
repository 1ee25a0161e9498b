//! The owner's certificate, from PEM files.

use std::path::Path;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::validity::Validity;
use super::{Error, moment, provider};

/// Reads certificate and key, and checks that they can be used now.
pub(super) fn read(cert: &Path, key: &Path, now_ms: i64) -> Result<CertifiedKey, Error> {
    let chain = read_chain(cert)?;
    let private = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|_| Error::NoKey(key.to_owned()))?;
    check_time(&chain[0], cert, now_ms)?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Error::Mismatch { cert: cert.to_owned(), key: key.to_owned() },
        other => Error::Unusable { path: key.to_owned(), reason: other.to_string() },
    })
}

/// Whether the certificate is for this name.
pub(super) fn is_for(cert: &Path, name: &str) -> Result<bool, Error> {
    let chain = read_chain(cert)?;
    let Ok(name) = ServerName::try_from(name) else { return Ok(false) };
    Ok(ParsedCertificate::try_from(&chain[0]).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok()))
}

/// At least one certificate.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = bytes(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|e| Error::Unusable { path: path.to_owned(), reason: e.to_string() })?;
    if chain.is_empty() { Err(Error::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { what: "read", path: path.to_owned(), source })
}

fn check_time(certificate: &CertificateDer<'_>, path: &Path, now_ms: i64) -> Result<(), Error> {
    let now = moment(now_ms)?;
    let Some(Validity { from, until }) = Validity::read(certificate) else {
        return Err(Error::Unusable { path: path.to_owned(), reason: "it holds no X.509 certificate".into() });
    };
    if now > until {
        return Err(Error::Expired { path: path.to_owned(), until: until.date().to_string() });
    }
    if now < from {
        return Err(Error::NotYetValid { path: path.to_owned(), from: from.date().to_string() });
    }
    Ok(())
}
