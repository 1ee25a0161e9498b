//! What is announced inside the process after a commit.

use crate::JobId;

/// Something changed, and the change is on disk.
///
/// A wake-up, not a record: whoever receives one looks at the database. Receivers that fall behind lose changes
/// ([`tokio::sync::broadcast::error::RecvError::Lagged`]) and should then look at whatever they wait for; changes made
/// by other processes may arrive late or not at all, so everybody who waits also polls now and then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// A job of this endpoint can be claimed: it is new, or it came back from a worker.
    Queued {
        /// The endpoint that was called.
        endpoint: String,
    },
    /// This job entered another state, got events, or was asked to cancel.
    Job(JobId),
    /// The worker that has this job is asked to cancel it. Announced beside the other, for workers.
    Cancelling(JobId),
    /// This job has ended. Announced beside the other, for those who wait for nothing else.
    Ended(JobId),
    /// A webhook can be delivered.
    Delivery,
}
