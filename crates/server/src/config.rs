//! What the owner may set about the gateway.

use std::time::Duration;

/// Settings of the HTTP half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers reach this server, where that is not what their `Host` header says.
    pub public_url: Option<String>,
    /// Largest body of a call, in bytes.
    pub body_bytes: usize,
    /// How long to wait before looking at a job that nobody announced.
    pub poll: Duration,
    /// How long a WebSocket stays open without an input.
    pub realtime_idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: None,
            body_bytes: 50 * 1024 * 1024,
            poll: Duration::from_millis(500),
            realtime_idle: Duration::from_secs(60),
        }
    }
}
