//! What the owner may set about a worker.

use std::time::Duration;

use scumble_store::{Limits, Retention};

/// What a caller who does not want results kept has to fetch them.
const HOUR_MS: i64 = 3600 * 1000;

/// Settings of the working half of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The worker's name in leases: unique among the processes on one database.
    pub name: String,
    /// Jobs at once. One is right for a CPU: a second job would only share the cores.
    pub concurrency: usize,
    /// Pause between two signs of life; a lease lasts four of them.
    pub heartbeat: Duration,
    /// How long to wait before looking for work that nobody announced.
    pub poll: Duration,
    /// When a job is given up.
    pub limits: Limits,
    /// How many jobs of one key run at once, over all workers; further ones wait.
    pub per_key: Option<u32>,
    /// How webhooks are delivered.
    pub webhooks: Webhooks,
    /// How pictures that callers name by URL are fetched.
    pub fetch: Fetch,
    /// How long ended jobs are kept.
    pub retention: Retention,
}

/// How webhooks are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Whether they may go to addresses that are not on the public internet.
    pub allow_private: bool,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { allow_private: false, timeout: Duration::from_secs(15) }
    }
}

/// How pictures that callers name by URL are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whether addresses that are not on the public internet may be opened.
    pub allow_private: bool,
    /// Largest download, in bytes.
    pub max_bytes: u64,
    /// Largest picture once it is decoded, in pixels.
    pub max_pixels: u64,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { allow_private: false, max_bytes: 50 * 1024 * 1024, max_pixels: 64 * 1024 * 1024 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: format!("worker-{}", std::process::id()),
            concurrency: 1,
            heartbeat: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            limits: Limits::default(),
            per_key: None,
            webhooks: Webhooks::default(),
            fetch: Fetch::default(),
            retention: Retention { kept_ms: None, unkept_ms: HOUR_MS },
        }
    }
}

impl Config {
    /// How long a lease lasts without a sign of life: four heartbeats, so that a slow disk costs nobody a job.
    pub fn lease_ms(&self) -> i64 {
        i64::try_from(4 * self.heartbeat.as_millis()).unwrap_or(i64::MAX)
    }
}
