//! What the owner may set about a worker.

use std::collections::HashMap;
use std::time::Duration;

use scumble_fetch::Budget;
use scumble_meters::Meters;
use scumble_store::{Limits, Retention};

use crate::adapters::Adapters;
use crate::faults::Faults;
use crate::prompts::Prompts;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Settings of the working half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The worker's name in leases: unique among the processes on one database.
    pub name: String,
    /// Jobs at once on each device. One is right for a CPU: a second job would only share the cores.
    pub concurrency: usize,
    /// Jobs at once that wait for makers far away, beside those.
    pub far_concurrency: usize,
    /// Pause between two signs of life; a lease lasts four of them.
    pub heartbeat: Duration,
    /// How long to wait before looking for work that nobody announced.
    pub poll: Duration,
    /// When a job is given up.
    pub limits: Limits,
    /// How many jobs of one key run at once, over all workers; further ones wait.
    pub per_key: Option<u32>,
    /// Telling callers that their requests have ended.
    pub webhooks: WebhooksConfig,
    /// Reading files that callers name.
    pub fetch: FetchConfig,
    /// Finding adapters that callers name.
    pub adapters: Adapters,
    /// Making prompts longer.
    pub prompts: Prompts,
    /// What files and pixels that are held for jobs draw on; a gateway in this process draws on it too.
    pub memory: Budget,
    /// How long runs may take.
    pub runs: RunLimits,
    /// Pause between two clean-ups: expired files, abandoned uploads, old jobs.
    pub cleanup: Duration,
    /// How long the parts of an upload that nobody completes are kept; longer than an upload URL takes bytes.
    pub parts: Duration,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// Whether those stay that were accepted when jobs were kept until somebody deleted them.
    pub keeps_older: bool,
    /// Where a self-test wants the process to end.
    pub faults: Faults,
    /// What this process counts; the gateway in this process counts there too.
    pub meters: Meters,
}

/// Settings of `[webhooks]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Whether webhooks may lead to addresses that are not on the public internet.
    pub allow_private: bool,
    /// How long a receiver may take at the first attempt; later ones may take two minutes.
    pub timeout: Duration,
}

/// Settings of `[fetch]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchConfig {
    /// Whether files may be read from addresses that are not on the public internet.
    pub allow_private: bool,
    /// Largest file.
    pub max_bytes: u64,
    /// Largest picture, in pixels.
    pub max_pixels: u64,
    /// How long all pictures of one request may take together.
    pub time: Duration,
}

/// How long a run may take, whatever it still says: `[worker] run_s`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunLimits {
    /// Where an endpoint has none of its own.
    pub usual: Option<Duration>,
    /// By endpoint.
    pub own: HashMap<String, Duration>,
}

impl RunLimits {
    /// The owner's word for an endpoint, if there is one.
    pub fn of(&self, endpoint: &str) -> Option<Duration> {
        self.own.get(endpoint).copied().or(self.usual)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: name(),
            concurrency: 1,
            far_concurrency: 24,
            heartbeat: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            limits: Limits::default(),
            per_key: None,
            webhooks: WebhooksConfig::default(),
            fetch: FetchConfig::default(),
            adapters: Adapters::default(),
            prompts: Prompts::default(),
            memory: Budget::default(),
            runs: RunLimits::default(),
            cleanup: Duration::from_secs(60),
            parts: 24 * HOUR,
            retention: Retention { kept_ms: Some(ms(30 * 24 * HOUR)), unkept_ms: ms(HOUR) },
            keeps_older: true,
            faults: Faults::default(),
            meters: Meters::new(),
        }
    }
}

/// In containers everybody has the same process id.
fn name() -> String {
    let number = std::process::id();
    match getrandom::u32() {
        Ok(random) => format!("worker-{number}-{:04x}", random & 0xffff),
        // a system without randomness has other worries
        Err(_) => format!("worker-{number}"),
    }
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self { allow_private: false, timeout: Duration::from_secs(15) }
    }
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            allow_private: false,
            max_bytes: 50 * 1024 * 1024,
            max_pixels: 8192 * 8192,
            time: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// How long a lease lasts without a sign of life: four heartbeats, so that a slow disk costs nobody a job.
    pub fn lease_ms(&self) -> i64 {
        ms(4 * self.heartbeat)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
