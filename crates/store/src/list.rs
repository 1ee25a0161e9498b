//! Lists and counts of jobs.

use crate::{JobId, Priority, State};

/// How a job stands, without input and result: a line of a job list, and what a status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Its number in the order of acceptance; the cursor of [`JobFilter::before`].
    pub seq: i64,
    /// The endpoint that was called.
    pub endpoint: String,
    /// The key that was used, if any.
    pub key_id: Option<String>,
    /// Its place among the waiting.
    pub priority: Priority,
    /// Where it stands.
    pub state: State,
    /// How many times it was claimed so far.
    pub attempt: i64,
    /// When it was accepted.
    pub created_ms: i64,
    /// When the latest attempt that got so far began to run.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// The status of its outcome.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// Of which type that is.
    pub error_type: Option<String>,
    /// How long the model worked.
    pub inference_ms: Option<i64>,
}

/// Which jobs a list shows, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFilter {
    /// Only jobs of this endpoint.
    pub endpoint: Option<String>,
    /// Only jobs in this state.
    pub state: Option<State>,
    /// Only jobs of this key.
    pub key_id: Option<String>,
    /// Only jobs accepted before the one with this [`JobSummary::seq`]: the last one of the page before.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// Which jobs a history shows, newest first, with input and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only jobs of this key, and those that were accepted without one.
    pub key_id: Option<String>,
    /// Only jobs of this endpoint.
    pub endpoint: Option<String>,
    /// Only jobs in one of these states; none means all.
    pub states: Vec<State>,
    /// Only jobs accepted before the one with this [`Job::seq`](crate::Job::seq): the last one of the page before.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// How long ended jobs are kept. A job whose webhook is still on its way is kept in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Those of callers who want them kept; `None` is for ever.
    pub kept_ms: Option<i64>,
    /// Those of callers who do not ([`Job::keep_io`](crate::Job::keep_io)).
    pub unkept_ms: i64,
}

impl Retention {
    /// When the pictures of a job end that is deleted now, where their caller said nothing about that: with a result that
    /// was kept for its time, at once. Who did not want the result kept may still have the picture's URL: it works for as
    /// long as results are kept. `None` is never.
    pub(crate) fn pictures_end_ms(&self, was_kept: bool, now_ms: i64) -> Option<i64> {
        if was_kept { Some(now_ms) } else { self.kept_ms.map(|kept_ms| now_ms.saturating_add(kept_ms)) }
    }
}

/// How many jobs of an endpoint are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The endpoint.
    pub endpoint: String,
    /// A state that is no end.
    pub state: State,
    /// How many.
    pub jobs: u64,
}
