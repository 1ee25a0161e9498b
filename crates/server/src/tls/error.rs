//! What can be wrong with certificates, and what to do about it.

use std::path::PathBuf;

/// TLS cannot be served with what is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// `read`, `write`, …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has no certificate in it.
    #[error("{} holds no certificate; expected PEM with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// A file has no private key in it.
    #[error(
        "{} holds no usable private key; expected PEM with an unencrypted PKCS#8, PKCS#1 or SEC1 key \
         (-----BEGIN PRIVATE KEY-----)",
        .0.display()
    )]
    NoKey(PathBuf),
    /// The certificate is for another key.
    #[error("the first certificate in {} is not for the key in {}; they must belong together", cert.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The time of the certificate is over.
    #[error("the certificate in {} has expired on {until}; renew it, or check the clock of this machine", path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// Its end.
        until: String,
    },
    /// The time of the certificate has not come.
    #[error("the certificate in {} is valid only from {from} on; check the clock of this machine", path.display())]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// Its beginning.
        from: String,
    },
    /// A file makes no sense.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The local authority may not vouch for a name.
    #[error(
        "the local authority in {} was made without {name} among its names; remove that folder to have a new one made, \
         and have programs trust the new {}",
        folder.display(),
        folder.join("ca.pem").display()
    )]
    NotPermitted {
        /// The name.
        name: String,
        /// The authority's folder.
        folder: PathBuf,
    },
    /// Something cannot be computed.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}
