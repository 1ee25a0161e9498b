//! Jobs: what was asked and how far it got.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::{Builder, Uuid};

use crate::{FileRecord, Outcome};

/// The id of a job: a UUID in its hyphenated form, fal's `request_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

impl JobId {
    /// A fresh id of version 7 (RFC 9562): the time in milliseconds, then 74 random bits that nobody guesses.
    ///
    /// Ids of one moment lie side by side in an index. With nothing but random bits every job of a group that shares a
    /// commit would change a page of its own.
    #[must_use]
    pub fn random() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // of version 4 the bytes 6 and 8 are not wholly random
        let [a, b, c, d, e, f, _, g, _, h, i, j, ..] = *Uuid::new_v4().as_bytes();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self(Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseJobIdError;

    /// Reads the hyphenated form only, so that one job has one URL.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HYPHENATED_LENGTH: usize = 36;
        if text.len() != HYPHENATED_LENGTH {
            return Err(ParseJobIdError);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| ParseJobIdError)
    }
}

/// The text is not a job id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a job id: expected a UUID such as 764cabcf-b745-4b3e-ae38-1200304cf45b")]
pub struct ParseJobIdError;

/// Which of two waiting jobs of an endpoint goes first. Normal goes before low; equals go first in, first out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// The usual.
    #[default]
    Normal,
    /// Waits behind every normal job.
    Low,
}

/// Where a job stands. The first three are alive, the last three are ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a worker.
    Queued,
    /// A worker has taken it and prepares to run it.
    Leased,
    /// A worker runs it.
    Running,
    /// Ended with an outcome below status 400.
    Done,
    /// Ended with an outcome of status 400 or above.
    Failed,
    /// Ended because the caller cancelled.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 6] = [Self::Queued, Self::Leased, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The name in databases and logs: `queued`, `leased`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the job has its outcome and will never change again.
    #[must_use]
    pub fn is_end(self) -> bool {
        match self {
            Self::Queued | Self::Leased | Self::Running => false,
            Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id, made by the caller ([`JobId::random`]) so that it can be logged before it is stored.
    pub id: JobId,
    /// The endpoint that was called.
    pub endpoint: String,
    /// The input as validated, every default filled.
    pub input: Value,
    /// The key that was used, if any.
    pub key_id: Option<String>,
    /// Its place among the waiting.
    pub priority: Priority,
    /// Not worth starting from this moment on.
    pub start_by_ms: Option<i64>,
    /// Who wants to be told of the outcome.
    pub webhook: Option<String>,
    /// Jobs with the same hint would like the same worker.
    pub hint: Option<String>,
    /// Whether input and outcome are kept after the caller had time to fetch them.
    pub keep_io: bool,
    /// Whatever else came with the call (tags, retry rules, …); opaque here.
    pub options: Value,
    /// The files that its input refers to: new ones, whose bytes are stored, or those of a job that it is a copy of. They
    /// go with the last job that has them.
    pub given: Vec<FileRecord>,
}

impl NewJob {
    /// A job with a random id and nothing special about it.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, input: Value) -> Self {
        Self {
            id: JobId::random(),
            endpoint: endpoint.into(),
            input,
            key_id: None,
            priority: Priority::Normal,
            start_by_ms: None,
            webhook: None,
            hint: None,
            keep_io: true,
            options: Value::Object(serde_json::Map::new()),
            given: Vec::new(),
        }
    }
}

/// What has to hold for a job to be accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Not when more jobs of its endpoint than this wait already.
    pub max_waiting: Option<u64>,
    /// Not while its key (or, for jobs without one, all of those together) has this many jobs at work. Waiting ones do
    /// not count.
    pub max_at_work: Option<u64>,
    /// Not twice.
    pub once: Option<Once>,
    /// Nobody is told of the job before its outcome, so until then it need not survive a power cut.
    pub quiet: bool,
}

/// Marks submits that mean the same job, because a client repeats what was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The caller's word for it (`Idempotency-Key`); each key's words are its own.
    pub word: String,
    /// A digest of what was asked: the same word for something else is a mistake.
    pub digest: [u8; 32],
}

/// What became of a job that asked to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum Enqueued {
    /// It is in the queue, or a worker has it already.
    New {
        /// As it stands there.
        job: Job,
        /// How many of its endpoint go before it.
        position: u64,
    },
    /// The caller has submitted this before; here is the job of then, as it stands now.
    Repeated(Job),
    /// The caller has used the same [`Once::word`] for something else. Nothing was written.
    WordReused,
    /// More than [`Admission::max_waiting`] wait. Nothing was written.
    TooManyWaiting(u64),
    /// [`Admission::max_at_work`] are at work. Nothing was written.
    TooManyAtWork(u64),
}

/// A job as it stands, with input and outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its number in the order in which jobs are written, which is that of acceptance for all that were in the queue; 0 for
    /// one that a worker has and the database has not yet; the cursor of [`JobFilter::before`](crate::JobFilter::before).
    pub seq: i64,
    /// The endpoint that was called.
    pub endpoint: String,
    /// The input as validated, every default filled.
    pub input: Value,
    /// The key that was used, if any.
    pub key_id: Option<String>,
    /// Its place among the waiting.
    pub priority: Priority,
    /// Not worth starting from this moment on.
    pub start_by_ms: Option<i64>,
    /// Not to be tried again before this moment.
    pub not_before_ms: Option<i64>,
    /// Who wants to be told of the outcome.
    pub webhook: Option<String>,
    /// Jobs with the same hint would like the same worker.
    pub hint: Option<String>,
    /// Whether input and outcome are kept after the caller had time to fetch them.
    pub keep_io: bool,
    /// Whatever else came with the call.
    pub options: Value,
    /// Where it stands.
    pub state: State,
    /// How many times it was claimed so far. The attempt of a lease is its fencing token.
    pub attempt: i64,
    /// How many of the attempts were given back by a draining worker; they do not count against the limit.
    pub drained: i64,
    /// How many of the attempts ended because the worker stopped beating.
    pub crashes: i64,
    /// When it was accepted.
    pub created_ms: i64,
    /// When the latest attempt that got so far began to run.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// Whether the caller asked to cancel it while a worker had it.
    pub cancel_requested: bool,
    /// What came out; there exactly when the job has ended.
    pub outcome: Option<Outcome>,
}

impl Job {
    /// A job that was just written, in `state` from its first moment.
    pub(crate) fn accepted(new: NewJob, seq: i64, now_ms: i64, state: State) -> Self {
        let NewJob { id, endpoint, input, key_id, priority, start_by_ms, webhook, hint, keep_io, options, given: _ } =
            new;
        Self {
            id,
            seq,
            endpoint,
            input,
            key_id,
            priority,
            start_by_ms,
            not_before_ms: None,
            webhook,
            hint,
            keep_io,
            options,
            state,
            attempt: 0,
            drained: 0,
            crashes: 0,
            created_ms: now_ms,
            started_ms: None,
            finished_ms: state.is_end().then_some(now_ms),
            cancel_requested: false,
            outcome: None,
        }
    }

    /// The attempts that count against [`Limits::max_attempts`](crate::Limits::max_attempts).
    #[must_use]
    pub fn counted_attempts(&self) -> i64 {
        self.attempt - self.drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_has_one_spelling() {
        let id = JobId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = "764cabcf-b745-4b3e-ae38-1200304cf45b";
        assert_eq!(text.parse::<JobId>().map(|id| id.to_string()), Ok(text.to_owned()));
        for bad in [
            "",
            "764cabcfb7454b3eae381200304cf45b",
            "{764cabcf-b745-4b3e-ae38-1200304cf45b}",
            "urn:uuid:764cabcf-b745-4b3e-ae38-1200304cf45b",
            "764cabcf-b745-4b3e-ae38-1200304cf45g",
            "764cabcf-b745-4b3e-ae38-1200304cf45b ",
            "764cabcf/b745/4b3e/ae38/1200304cf45b",
        ] {
            assert_eq!(bad.parse::<JobId>(), Err(ParseJobIdError), "{bad:?}");
        }
    }

    #[test]
    fn an_id_begins_with_its_time_and_ends_with_chance() {
        let now_ms = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        let (before, ids, after) = (now_ms(), [JobId::random(), JobId::random()], now_ms());
        for JobId(id) in ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            assert!((before..=after).contains(&(id.as_u128() >> 80)), "{id}");
        }
        let chance = |JobId(id): JobId| id.as_u128() & ((1 << 62) - 1);
        assert_ne!(chance(ids[0]), chance(ids[1]));
    }

    #[test]
    fn states_have_names() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.as_str()), Some(state));
        }
        assert_eq!(State::from_name("QUEUED"), None);
    }
}
