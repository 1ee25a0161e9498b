//! Deliveries: webhooks on their way. A row is written with the outcome, in one transaction.

use crate::JobId;

/// A webhook that a worker may try to deliver now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// The job that ended.
    pub job_id: JobId,
    /// Where it goes.
    pub url: String,
    /// How often it was claimed, this time included: the fencing token.
    pub attempt: i64,
    /// When the job ended.
    pub created_ms: i64,
}

/// How long who has claimed a delivery may be silent before another may claim it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryLease {
    /// The first claimant.
    pub first_ms: i64,
    /// All later ones.
    pub later_ms: i64,
}

impl DeliveryLease {
    /// The same for everybody.
    #[must_use]
    pub const fn of(ms: i64) -> Self {
        Self { first_ms: ms, later_ms: ms }
    }

    /// That of a delivery by its [`attempt`](Delivery::attempt).
    #[must_use]
    pub const fn at(self, attempt: i64) -> i64 {
        if attempt <= 1 { self.first_ms } else { self.later_ms }
    }
}

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// When it began.
    pub at_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextDelivery {
    /// Nothing: the receiver has it.
    Delivered,
    /// Nothing: trying again would not help, or was tried long enough.
    GivenUp,
    /// Another attempt at this moment.
    At(i64),
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Will be tried (again).
    Pending,
    /// The receiver has it.
    Delivered,
    /// Given up.
    Failed,
}

/// A delivery with its log, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: i64,
    /// Where it goes.
    pub url: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it will be tried next.
    pub next_ms: Option<i64>,
    /// Its attempts so far, oldest first.
    pub log: Vec<DeliveryAttempt>,
}
