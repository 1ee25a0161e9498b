//! What the owner may set about the gateway.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// Settings of the HTTP half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers reach this server, where that is not what their `Host` header says.
    pub public_url: Option<String>,
    /// Largest body of a call, in bytes.
    pub body_bytes: usize,
    /// Largest file that is uploaded, in bytes.
    pub upload_bytes: u64,
    /// How long to wait before looking at a job that nobody announced.
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: None,
            body_bytes: 50 * MIB as usize,
            upload_bytes: 10 * 1024 * MIB,
            poll: Duration::from_millis(500),
        }
    }
}
