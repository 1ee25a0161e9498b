//! HTTPS: with the owner's certificate, or with one from an authority made for this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use scumble_server::tls::{self, Authority, Source};
use scumble_store::{Clock, SystemClock};

use crate::failure::Failure;
use crate::settings::{Settings, Tls};

/// Whoever has a certificate for this name of fal's has one for all that matter.
const FALS: &str = "fal.run";

/// What HTTPS is served with.
pub(super) struct Https {
    pub(super) config: Arc<ServerConfig>,
    /// What programs have to be told to trust it.
    pub(super) local: Option<Trust>,
    /// Whether the certificate is for fal's names, so that programs find the server under them.
    pub(super) is_fals: bool,
}

/// The files of a local authority.
pub(super) struct Trust {
    /// Its certificate alone.
    pub(super) ca: PathBuf,
    /// The same with all that this machine trusts anyway.
    pub(super) bundle: Option<PathBuf>,
}

impl Https {
    /// Reads or makes certificates; `None` where the owner wants none.
    pub(super) fn prepare(settings: &Settings, listen: SocketAddr) -> Result<Option<Self>, Failure> {
        let unusable = |e: tls::Error| {
            Failure::System(match settings.tls {
                Some(Tls::Files { .. }) => format!("[server] tls: {e}"),
                _ => e.to_string(),
            })
        };
        let (source, local, is_fals) = match &settings.tls {
            None => return Ok(None),
            Some(Tls::Files { cert, key }) => {
                let is_fals = tls::is_for(cert, FALS).map_err(unusable)?;
                (Source::Files { cert: cert.clone(), key: key.clone() }, None, is_fals)
            }
            Some(Tls::Local) => {
                let names = names(settings, listen);
                let folder = settings.data_dir.join("tls");
                let authority = Authority::open(&folder, &names, SystemClock.now_ms()).map_err(unusable)?;
                // for other programs, wherever they are started
                let ca = std::path::absolute(authority.certificate_file())
                    .map_err(|e| Failure::about("find", &folder, e))?;
                let bundle = tls::write_bundle(&ca).map_err(unusable)?;
                (Source::Local { authority, names }, Some(Trust { ca, bundle }), true)
            }
        };
        let config = tls::config(source, Arc::new(SystemClock)).map_err(unusable)?;
        Ok(Some(Self { config, local, is_fals }))
    }
}

/// All names under which this server may be called: the services', this machine's, and what the owner says.
fn names(settings: &Settings, listen: SocketAddr) -> Vec<String> {
    let mut names = settings.server.hosts.names();
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let address = (!listen.ip().is_unspecified()).then(|| listen.ip().to_string());
    for name in here.into_iter().chain(address).chain(public_host(settings)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn public_host(settings: &Settings) -> Option<String> {
    let url: axum::http::Uri = settings.server.public_url.as_ref()?.parse().ok()?;
    Some(url.host()?.trim_matches(['[', ']']).to_ascii_lowercase())
}
