//! What the owner may set about the gateway.

use std::time::Duration;

/// Settings of the HTTP half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers reach this server, where that is not what their `Host` header says.
    pub public_url: Option<String>,
    /// Largest body of a call, in bytes.
    pub body_bytes: usize,
    /// How many jobs of an endpoint may wait; further submits are refused.
    pub queue_length: Option<u64>,
    /// How many jobs of one key run at once. Queued ones beyond it wait, direct calls beyond it are refused.
    pub per_key_concurrency: Option<u32>,
    /// How many direct calls this process has open at once; further ones are refused.
    pub direct_calls: usize,
    /// How long to wait before looking at a job that nobody announced.
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: None,
            body_bytes: 50 * 1024 * 1024,
            queue_length: None,
            per_key_concurrency: None,
            direct_calls: 1000,
            poll: Duration::from_millis(500),
        }
    }
}
