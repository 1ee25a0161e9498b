//! What the owner may set about a worker.

use std::time::Duration;

use scumble_store::Limits;

use crate::faults::Faults;

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
    /// Where a self-test wants the process to end.
    pub faults: Faults,
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
            faults: Faults::default(),
        }
    }
}

impl Config {
    /// How long a lease lasts without a sign of life: four heartbeats, so that a slow disk costs nobody a job.
    pub fn lease_ms(&self) -> i64 {
        i64::try_from(4 * self.heartbeat.as_millis()).unwrap_or(i64::MAX)
    }
}
