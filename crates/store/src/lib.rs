//! Jobs, leases, events, keys and file rows of Scumble in a database.
//!
//! Everything that must survive a restart and everything that `server` and `worker` tell each other goes through
//! one trait, [`Store`]. Nothing here knows HTTP, models or image bytes.
//!
//! One word, one meaning:
//!
//! | word | meaning |
//! |---|---|
//! | **job** | one call of one endpoint, from acceptance to its one outcome; a row that is never overwritten by another |
//! | **endpoint** | the id of what was called, such as `fal-ai/flux/schnell`; opaque text here |
//! | **lease** | the right of one worker to run one job until a point in time |
//! | **seat** | where a worker waits that found nothing to lease; a direct call goes straight to whoever sits |
//! | **attempt** | how many times the job was leased so far; the lease's attempt is its fencing token |
//! | **outcome** | what the caller gets: status, body, headers; written once |
//! | **event** | something that happened to a job: a log line, progress, a state it entered |
//! | **file** | the row about bytes that `scumble-files` keeps |
//! | **key** | what a caller proves who they are with; only its hash is here |
//! | **visit** | somebody who has signed in on pages with a key, until they sign out or for a while; only the digest of their word is here |
//! | **delivery** | a webhook on its way to whoever wants to be told of an outcome |
//! | **secret** | bytes that the server itself signs with; every process on a database shares them |
//!
//! ```text
//!            claim         start           finish
//!   queued ────────▶ leased ────▶ running ────────▶ done | failed | cancelled
//!     ▲  │             │             │
//!     │  └─ cancel, end_unstarted ─▶ cancelled | failed
//!     └──── release, reclaim_expired ┘
//! ```
//!
//! Invariants, each of them a test of the `suite`:
//!
//! - What was acknowledged is on disk: every write answers after its commit.
//! - A job has one outcome. The first valid `finish` wins; one from an earlier attempt is dropped.
//! - A queued job never has a cancel pending: cancelling it ends it, and a job that comes back from a worker after a
//!   cancel was requested ends instead of being queued again.
//! - However a job ends, the delivery of its webhook is written with its outcome, in one transaction.
//! - Nobody's jobs wait for all of somebody else's: keys take turns.

mod census;
mod changes;
mod clock;
mod delivery;
mod error;
mod event;
mod file;
mod job;
mod key;
mod keyed;
mod lease;
mod list;
mod outcome;
mod postgres;
mod seat;
mod secret;
mod sqlite;
mod store;
mod stuck;
mod visit;
mod worker;

#[cfg(feature = "suite")]
pub mod suite;

pub use census::{Census, FilesPart, Oldest};
pub use changes::Change;
pub use clock::{Clock, ManualClock, SystemClock};
pub use delivery::{Delivery, DeliveryAttempt, DeliveryLease, DeliveryRecord, DeliveryState, NextDelivery};
pub use error::{Cause, Error, Result};
pub use event::{Event, EventKind, Level, NewEvent};
pub use file::{Access, AccessRule, Decision, FileRecord, FreshFile, FreshSize};
pub use job::{Admission, Enqueued, Job, JobId, NewJob, Once, ParseJobIdError, Priority, State};
pub use key::KeyRecord;
pub use lease::{Beat, Cancel, Claim, Claimable, Finish, Lease, Limits, Product, Reclaimed, Release};
pub use list::{Count, HistoryFilter, JobFilter, JobSummary, Retention};
pub use outcome::Outcome;
pub use postgres::{PostgresOptions, PostgresStore};
pub use seat::{Claimed, Seat};
pub use secret::{SecretBytes, SecretRecord};
pub use sqlite::{Age, End, KnownFile, Options, Snapshot, SqliteStore, Survey};
pub use store::Store;
pub use visit::VISITS_MAX;
pub use worker::{AtWork, WorkerRecord};
