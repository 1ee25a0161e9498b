//! A certificate authority of one's own, for fal's names on this machine and nothing else.
//!
//! Programs that trust it let this server answer as `fal.run`; whoever holds its key could do the same to them. So its
//! key is readable by its owner only, it ends after two years, and it is limited to the names that are needed: it cannot
//! vouch for anybody's bank.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::validity::Validity;
use super::{Error, moment, provider};

const AUTHORITY_DAYS: i64 = 730;
const CERTIFICATE_DAYS: i64 = 90;
/// A certificate is issued anew when it has this long to go; an authority is made anew at the next start.
const RENEW_DAYS: i64 = 30;

/// What an authority may vouch for whatever else it is made for: fal's domains, this machine, private networks.
const DOMAINS: &[&str] = &["fal.run", "fal.ai", "fal.media", "falrun.com", "localhost"];
const NETWORKS: &[(&str, u8)] = &[
    ("127.0.0.0", 8),
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
];

/// A local authority: its certificate for those who should trust it, its key in a file that only the owner reads.
pub struct Authority {
    folder: PathBuf,
    named: Vec<String>,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    until: OffsetDateTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.folder.display())
    }
}

impl Authority {
    /// The authority of a folder, made if it is not there or about to end. A new one may vouch for `names` too.
    ///
    /// # Errors
    /// The folder cannot be used; or the authority that is there was made without one of the names.
    pub fn open(folder: &Path, names: &[String], now_ms: i64) -> Result<Self, Error> {
        let now = moment(now_ms)?;
        std::fs::create_dir_all(folder).map_err(|source| Error::File {
            what: "make the folder",
            path: folder.to_owned(),
            source,
        })?;
        let held = folder.join("ca-key.pem");
        if !held.exists() {
            place_new(&held, &make(names, now)?)?;
        }
        let mut authority = Self::read(folder, &held)?;
        if authority.until - Duration::days(RENEW_DAYS) < now {
            tracing::warn!("the local authority is about to end; programs have to trust a new one");
            std::fs::remove_file(&held).map_err(|source| Error::File { what: "remove", path: held.clone(), source })?;
            place_new(&held, &make(names, now)?)?;
            authority = Self::read(folder, &held)?;
        }
        for name in names {
            authority.permits(name)?;
        }
        authority.show()?;
        Ok(authority)
    }

    /// The file for those who should trust it.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for these names, and when to issue the next.
    pub(super) fn issue(&self, names: &[String], now_ms: i64) -> Result<(CertifiedKey, i64), Error> {
        let now = moment(now_ms)?;
        if now >= self.until {
            return Err(Error::Make("the local authority has ended; a new start of the server makes another".into()));
        }
        let key = KeyPair::generate().map_err(unmade)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(unmade)?;
        params.distinguished_name.push(DnType::CommonName, "Scumble on this machine");
        (params.not_before, params.not_after) = (now - Duration::days(1), now + Duration::days(CERTIFICATE_DAYS));
        params.not_after = params.not_after.min(self.until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(unmade)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let made = CertifiedKey::from_der(chain, private, &provider()).map_err(|e| Error::Make(e.to_string()))?;
        let renew_ms = now_ms + (CERTIFICATE_DAYS - RENEW_DAYS) * 24 * 3600 * 1000;
        Ok((made, renew_ms))
    }

    /// Names, key and certificate are in one file, so that they cannot come apart.
    fn read(folder: &Path, held: &Path) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Unusable { path: held.to_owned(), reason };
        let pem = std::fs::read_to_string(held).map_err(|source| Error::File {
            what: "read",
            path: held.to_owned(),
            source,
        })?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::NoKey(held.to_owned()))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
        let certificate = certificate.map_err(|_| Error::NoCertificate(held.to_owned()))?;
        CertifiedKey::from_der(vec![certificate.clone()], PrivateKeyDer::from(key.clone_key()), &provider())
            .map_err(|e| unusable(e.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|e| unusable(e.to_string()))?;
        let validity = Validity::read(&certificate).ok_or_else(|| Error::NoCertificate(held.to_owned()))?;
        let named = pem.lines().find_map(|line| line.strip_prefix(NAMES_MARK)).unwrap_or_default();
        Ok(Self {
            folder: folder.to_owned(),
            named: named.split_whitespace().map(str::to_owned).collect(),
            issuer: Issuer::new(subject(), key),
            certificate,
            until: validity.until,
        })
    }

    /// Writes the certificate where everybody may read it.
    fn show(&self) -> Result<(), Error> {
        let path = self.certificate_file();
        let held = self.folder.join("ca-key.pem");
        let pem = std::fs::read_to_string(&held).map_err(|source| Error::File { what: "read", path: held, source })?;
        let certificate = pem.find(CERTIFICATE_MARK).map_or("", |at| &pem[at..]);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == certificate) {
            return Ok(());
        }
        std::fs::write(&path, certificate).map_err(|source| Error::File { what: "write", path, source })
    }

    fn permits(&self, name: &str) -> Result<(), Error> {
        if permitted(&self.named).iter().any(|tree| covers(tree, name)) {
            return Ok(());
        }
        Err(Error::NotPermitted { name: name.to_owned(), folder: self.folder.clone() })
    }
}

const CERTIFICATE_MARK: &str = "-----BEGIN CERTIFICATE-----";
/// What stands before the PEM: the names that this authority was made for, beside those that all are made for.
const NAMES_MARK: &str = "Made for: ";

/// Whether a constraint covers a name or address (RFC 5280, 4.2.1.10).
fn covers(tree: &GeneralSubtree, name: &str) -> bool {
    let within = |address: &[u8], network: &[u8], mask: &[u8]| {
        address.iter().zip(network).zip(mask).all(|((byte, network), mask)| byte & mask == network & mask)
    };
    match (tree, name.parse::<IpAddr>()) {
        (GeneralSubtree::DnsName(domain), Err(_)) => {
            name == domain || name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
        }
        (GeneralSubtree::IpAddress(CidrSubnet::V4(network, mask)), Ok(IpAddr::V4(address))) => {
            within(&address.octets(), network, mask)
        }
        (GeneralSubtree::IpAddress(CidrSubnet::V6(network, mask)), Ok(IpAddr::V6(address))) => {
            within(&address.octets(), network, mask)
        }
        _ => false,
    }
}

/// Who an authority is, in its own certificate and in those that it issues.
fn subject() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Scumble, local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A new authority: its key and its certificate, as PEM.
fn make(names: &[String], now: OffsetDateTime) -> Result<String, Error> {
    let key = KeyPair::generate().map_err(unmade)?;
    let mut params = subject();
    (params.not_before, params.not_after) = (now - Duration::days(1), now + Duration::days(AUTHORITY_DAYS - 1));
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted(names), excluded_subtrees: Vec::new() });
    let certificate = params.self_signed(&key).map_err(unmade)?;
    Ok(format!("{NAMES_MARK}{}\n{}{}", names.join(" "), key.serialize_pem(), certificate.pem()))
}

fn permitted(names: &[String]) -> Vec<GeneralSubtree> {
    let network = |address: IpAddr, prefix| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix));
    let networks = NETWORKS.iter().filter_map(|(address, prefix)| Some(network(address.parse().ok()?, *prefix)));
    let domains = DOMAINS.iter().map(|domain| GeneralSubtree::DnsName((*domain).to_owned()));
    let named = names.iter().map(|name| match name.parse::<IpAddr>() {
        Ok(address) => network(address, if address.is_ipv4() { 32 } else { 128 }),
        Err(_) => GeneralSubtree::DnsName(name.clone()),
    });
    let mut all: Vec<_> = domains.chain(networks).collect();
    for tree in named {
        if !all.contains(&tree) {
            all.push(tree);
        }
    }
    all
}

/// Puts a secret into a file that only its owner reads. Of several that come at the same time the first stays.
fn place_new(path: &Path, secret: &str) -> Result<(), Error> {
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let about = |source| Error::File { what: "write", path: path.to_owned(), source };
    write_secret(&aside, secret).map_err(about)?;
    let placed = std::fs::hard_link(&aside, path);
    let removed = std::fs::remove_file(&aside);
    match placed {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(about(error)),
        _ => removed.map_err(about),
    }
}

fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unmade(error: rcgen::Error) -> Error {
    Error::Make(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn an_authority_is_made_once_and_keeps_its_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = names(&["queue.fal.run", "v3b.fal.media", "localhost", "192.168.7.9", "::1", "images.test"]);
        let open = |names: &[String]| Authority::open(folder.path(), names, NOW_MS);
        let first = open(&all).expect("an authority");
        let public = std::fs::read_to_string(first.certificate_file()).expect("ca.pem");
        assert!(public.starts_with(CERTIFICATE_MARK) && !public.contains("PRIVATE"), "{public}");
        let again = open(&all).expect("the same authority");
        assert_eq!(again.certificate, first.certificate);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join("ca-key.pem")).expect("a key").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for stranger in ["bank.example", "notfal.run", "8.8.8.8", "2001:db8::1"] {
            let refused = open(&names(&[stranger])).expect_err(stranger).to_string();
            assert!(refused.contains(stranger) && refused.contains("remove that folder"), "{refused}");
        }
    }

    #[test]
    fn an_authority_that_ends_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = names(&["fal.run"]);
        let open = |days: i64| Authority::open(folder.path(), &all, NOW_MS + days * 24 * 3600 * 1000);
        let first = open(0).expect("an authority").certificate;
        assert_eq!(open(690).expect("still good").certificate, first);
        assert_ne!(open(705).expect("a new one").certificate, first);
    }
}
