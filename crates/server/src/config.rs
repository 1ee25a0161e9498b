//! What the owner may set about the gateway.

use std::sync::Arc;
use std::time::Duration;

use crate::hosts::Hosts;

/// Settings of the HTTP half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers reach this server, where that is not what their `Host` header says.
    pub public_url: Option<String>,
    /// Whether a proxy in front of this server says in `X-Forwarded-Proto` and `X-Forwarded-Host` how callers reach
    /// it. Without such a proxy these headers are the callers' own inventions.
    pub trusted_proxy: bool,
    /// The host names that stand for services.
    pub hosts: Arc<Hosts>,
    /// Largest body of a call, in bytes.
    pub body_bytes: usize,
    /// How long to wait before looking at a job that nobody announced.
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: None,
            trusted_proxy: false,
            hosts: Arc::default(),
            body_bytes: 50 * 1024 * 1024,
            poll: Duration::from_millis(500),
        }
    }
}
