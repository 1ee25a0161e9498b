//! What there is in the database, in numbers: for whoever watches, and cheap however much there is.

use crate::Count;

/// How the database stands. Taking it looks at counters, heads of queues and indexes of what is alive, never at all jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// How many jobs of each endpoint are queued, leased and running. Pairs without a job are left out.
    pub jobs: Vec<Count>,
    /// The first of each endpoint's queue. Looked for among the jobs of a thousand keys at most.
    pub oldest: Vec<Oldest>,
    /// Webhooks on their way, up to [`Census::DELIVERIES_MAX`].
    pub deliveries: u64,
    /// When the first of them is due, in milliseconds since 1970.
    pub delivery_due_ms: Option<i64>,
    /// What the database takes on its disk, its log included, in bytes.
    pub database_bytes: u64,
}

/// The job of an endpoint that has waited longest of those that may run now: who rests after a failure is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    /// The endpoint.
    pub endpoint: String,
    /// When it was accepted, in milliseconds since 1970.
    pub created_ms: i64,
}

/// A part of all file rows, in the order of their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesPart {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last of them; `None` where there are no more.
    pub last: Option<String>,
}

impl Census {
    /// More webhooks than this are not counted.
    pub const DELIVERIES_MAX: u32 = 10_000;
}
