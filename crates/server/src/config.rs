//! What the owner may set about the gateway.

use std::sync::Arc;
use std::time::Duration;

use scumble_api::OpenAiAliases;
use scumble_fetch::Budget;
use scumble_meters::Meters;

use crate::hosts::Hosts;
use crate::origins::Origins;
use crate::prefix::Prefix;

const MIB: u64 = 1024 * 1024;

/// Settings of the HTTP half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers reach this server, where that is not what their `Host` header says.
    pub public_url: Option<String>,
    /// Whether a proxy in front of this server says in `X-Forwarded-Proto`, `X-Forwarded-Host` and
    /// `X-Forwarded-Prefix` how callers reach it. Without such a proxy these headers are the callers' own inventions.
    pub trusted_proxy: bool,
    /// The path below which a proxy shows this server, where it leaves that in the paths it passes on.
    pub base_path: Prefix,
    /// The host names that stand for services.
    pub hosts: Arc<Hosts>,
    /// The owner's names for endpoints, for programs that speak OpenAI's API.
    pub openai: OpenAiAliases,
    /// The origins whose pages may use this server while it has no keys.
    pub origins: Arc<Origins>,
    /// Whether everybody who can reach this server may call as long as it has no keys, through proxies too.
    pub open: bool,
    /// Largest body of a call, in bytes.
    pub body_bytes: usize,
    /// What bodies, messages and whatever else is held for callers draw on; the worker in this process draws on it too.
    pub memory: Budget,
    /// Largest file that is uploaded, in bytes.
    pub upload_bytes: u64,
    /// How much space has to be left where the database and the files are, in bytes; with less, new work is refused.
    pub free_bytes: u64,
    /// How many jobs of an endpoint may wait; further calls are refused.
    pub queue_length: Option<u64>,
    /// How many jobs of one key run at once. Queued ones beyond it wait; a direct call that comes while so many run is
    /// refused.
    pub per_key_concurrency: Option<u32>,
    /// How many direct calls this process has open at once; further ones are refused.
    pub direct_calls: usize,
    /// Whether webhooks may go to addresses that are not on the public internet.
    pub private_webhooks: bool,
    /// How long a realtime connection may be silent before it is closed.
    pub realtime_idle: Duration,
    /// How long to wait before looking at a job that nobody announced.
    pub poll: Duration,
    /// What this process counts; the worker in this process counts there too.
    pub meters: Meters,
    /// The ids of the keys that may read them at `/metrics`; all may where none is named.
    pub metrics_keys: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: None,
            trusted_proxy: false,
            base_path: Prefix::default(),
            hosts: Arc::default(),
            openai: OpenAiAliases::default(),
            origins: Arc::default(),
            open: false,
            body_bytes: 50 * MIB as usize,
            memory: Budget::default(),
            upload_bytes: 10 * 1024 * MIB,
            free_bytes: 256 * MIB,
            queue_length: None,
            per_key_concurrency: None,
            direct_calls: 1000,
            private_webhooks: false,
            realtime_idle: Duration::from_secs(60),
            poll: Duration::from_millis(500),
            meters: Meters::new(),
            metrics_keys: Vec::new(),
        }
    }
}
