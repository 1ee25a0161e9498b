//! Events: what happened to a job, in order.

use serde::{Deserialize, Serialize};

use crate::{JobId, State};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows with every event; the cursor of [`Store::events`](crate::Store::events).
    pub seq: i64,
    /// The job it happened to.
    pub job_id: JobId,
    /// The attempt in which it happened; 0 before the first.
    pub attempt: i64,
    /// When it happened.
    pub at_ms: i64,
    /// What happened.
    pub kind: EventKind,
}

/// An event that the holder of a lease reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened; events are often handed over several at a time.
    pub at_ms: i64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A line of the job's log, shown to its caller.
    Log {
        /// How loud.
        level: Level,
        /// The line.
        message: String,
    },
    /// A stage of the run came this far.
    Progress {
        /// The stage: `load`, `text_encode`, `denoise`, `decode`, …
        stage: String,
        /// Steps done.
        done: u32,
        /// Steps in all.
        total: u32,
    },
    /// How the picture looks by now. Forgotten when the job ends.
    Preview {
        /// A small picture as a data URI.
        image: String,
    },
    /// The run is with somebody else, who asks for money: what is needed to go on with it instead of paying again.
    Submitted {
        /// Who has it.
        maker: String,
        /// For whoever runs the next attempt; opaque here. A later one replaces an earlier one.
        ticket: String,
    },
    /// The job entered a state. Written by the store itself.
    State {
        /// The state it entered.
        state: State,
        /// Why, where that is not obvious.
        reason: Option<String>,
    },
}

/// How loud a log line is, in fal's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// For whoever hunts a fault.
    Debug,
    /// For everybody.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something went wrong.
    Error,
    /// The standard output of a run.
    Stdout,
    /// The standard error of a run; progress bars go here.
    Stderr,
}

impl Level {
    /// fal's word: `DEBUG`, `INFO`, `WARN`, `ERROR`, `STDOUT`, `STDERR`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Stdout => "STDOUT",
            Self::Stderr => "STDERR",
        }
    }
}
