//! From a host to the addresses that may be connected to.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use url::{Host, Url};

use crate::target::{Reach, host};
use crate::{Error, Result};

/// Looks names up.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of a host, best first.
    ///
    /// # Errors
    /// Whatever the system says; it is treated as "no such host".
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own way of looking names up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // a port is needed to ask and means nothing
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect())
    }
}

/// A resolver whose answers are checked.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) reach: Reach,
}

impl Guard {
    /// The addresses of a URL's host that may be connected to. Whoever connects uses these and asks nobody again.
    pub(crate) async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>> {
        let found = match url.host() {
            Some(Host::Ipv4(address)) => vec![IpAddr::V4(address)],
            Some(Host::Ipv6(address)) => vec![IpAddr::V6(address)],
            Some(Host::Domain(name)) => self.resolver.resolve(name).await.unwrap_or_default(),
            None => Vec::new(),
        };
        if found.is_empty() {
            return Err(Error::UnknownHost { host: host(url) });
        }
        let allowed: Vec<_> = found.into_iter().filter(|address| (self.reach)(*address)).collect();
        if allowed.is_empty() { Err(Error::Private { host: host(url) }) } else { Ok(allowed) }
    }
}
