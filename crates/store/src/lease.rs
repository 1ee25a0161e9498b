//! Leases: the right of one worker to run one job for a while, and what can become of it.

use crate::{FileRecord, FreshFile, Job, JobId, NewEvent, Outcome};

/// The right of one worker to run one job.
///
/// It ends with [`finish`](crate::Store::finish) or [`release`](crate::Store::release), or when the worker stops
/// beating: somebody else's [`reclaim_expired`](crate::Store::reclaim_expired) then takes it away. Dropping this value
/// does nothing; the worker owns the guard that releases.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The job as it was when it was claimed.
    pub job: Job,
    /// Who holds the lease.
    pub worker: String,
    /// The fencing token: a store refuses the words of an attempt that is not the job's latest.
    pub attempt: i64,
    /// When the lease ends unless a heartbeat extends it.
    pub expires_ms: i64,
}

/// Which endpoints a worker can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimable {
    /// Whatever comes.
    All,
    /// These and no others.
    Only(Vec<String>),
}

/// A worker looking for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The worker's name: `process/slot`. What stands before the slash has the affinity to hints.
    pub worker: String,
    /// What it can run.
    pub endpoints: Claimable,
    /// How long it may be silent.
    pub lease_ms: i64,
    /// How many jobs of one key may be leased or running at the same time; further ones wait.
    pub per_key: Option<u32>,
    /// Whether the job runs from that moment, as if [`start`](crate::Store::start) were said at once.
    pub start: bool,
}

/// What the holder of a lease learns whenever it says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease holds.
    Alive {
        /// The caller asked to cancel: stop soon and finish with status [`Outcome::CANCELLED`](crate::Outcome::CANCELLED).
        cancel_requested: bool,
    },
    /// The lease is gone, nothing was written: the job ended, or is the queue's or another worker's. Stop.
    Lost,
}

/// What a run leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// What the caller gets.
    pub outcome: Outcome,
    /// The files that the outcome names. Their [`job_id`](FileRecord::job_id) is set to the job.
    pub files: Vec<FileRecord>,
    /// The bytes of those files that are not in their folder yet, where the store
    /// [keeps them](crate::Store::keeps_files_of).
    pub fresh: Vec<FreshFile>,
    /// What was said and not yet [logged](crate::Store::log). Kept if the lease still holds, as with any other word.
    pub last_words: Vec<NewEvent>,
}

impl From<Outcome> for Product {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, files: Vec::new(), fresh: Vec::new(), last_words: Vec::new() }
    }
}

/// Whether an outcome became the job's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It did; outcome, file rows and the end are on disk.
    Accepted,
    /// It did not, nothing was written: another attempt took over, or the job had ended. The files can be deleted.
    Superseded,
}

/// Why a worker gives a job back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The worker goes away in an orderly manner. The attempt does not count against the limit.
    Drained,
    /// The attempt failed in a way that another may survive, for this reason. The attempt counts; the worker gives up
    /// with `finish` instead once [`Job::counted_attempts`] has reached [`Limits::max_attempts`].
    Failed {
        /// What went wrong.
        reason: String,
        /// How long the job rests before it may be claimed again.
        rest_ms: i64,
    },
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// The job was waiting and has ended.
    Removed,
    /// A worker has the job and will be told with its next heartbeat.
    Requested,
    /// Too late.
    AlreadyEnded,
    /// There is no such job.
    Unknown,
}

/// How often a job may be tried before it is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts, without those that a draining worker gave back.
    pub max_attempts: i64,
    /// Attempts that ended because the worker stopped beating.
    pub max_crashes: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_attempts: 10, max_crashes: 3 }
    }
}

/// What became of the jobs whose lease had expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Back in the queue, at their old place.
    pub requeued: Vec<JobId>,
    /// Ended as cancelled, because the caller had asked for that.
    pub cancelled: Vec<JobId>,
    /// Beyond the limits: ended as failed and kept for inspection.
    pub set_aside: Vec<JobId>,
}
