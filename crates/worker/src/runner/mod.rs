//! What answers a job: the engine here, a stand-in, later a maker far away.

mod local;
mod rehearsal;
mod stand_in;
mod timer;

use std::collections::BTreeMap;
use std::sync::Arc;

use scumble_api::{Endpoint, ErrorAnswer, ErrorType, Fault, Problem, TextToImage};
use scumble_engine::{Pixels, Stage};

use crate::picture::Picture;
pub use local::{Local, Model};
pub use stand_in::StandIn;
pub use timer::Timer;

/// A job as runners see it: nothing of queues or HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was called.
    pub endpoint: &'static Endpoint,
    /// With what.
    pub input: TextToImage,
    /// The caller's seed, or the one that was chosen.
    pub seed: u64,
    /// How often this was tried, this time included.
    pub attempt: u64,
}

/// What a runner made.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The pictures, encoded.
    pub pictures: Vec<Picture>,
    /// Seconds by stage.
    pub timings: BTreeMap<String, f64>,
    /// Whether these are cards that stand in for a model.
    pub stand_in: bool,
}

/// Hears what a run does, and knows whether it should stop. Called from the thread that computes.
pub trait Watch: Send + Sync {
    /// A stage begins.
    fn stage(&self, stage: Stage);
    /// A step is done; `preview` makes a small picture of where it leads.
    fn step(&self, done: usize, total: usize, preview: &dyn Fn() -> Option<Pixels>);
    /// A line for the job's log.
    fn log(&self, message: &str);
    /// Whether the run should stop now.
    fn cancelled(&self) -> bool;
}

/// The seam between the queue and whatever makes pictures.
#[async_trait::async_trait]
pub trait Runner: Send + Sync {
    /// Runs one request to its end.
    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError>;
}

/// Why a run made nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// The watch said so.
    #[error("cancelled")]
    Cancelled,
    /// The input is not for this model.
    #[error("the input does not fit this model: {}", ErrorAnswer::invalid(.0).message())]
    Invalid(Vec<Problem>),
    /// Nothing here can answer the endpoint, or what should is broken; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
    /// The model failed, but may not fail the next time.
    #[error("{reason}")]
    Passing {
        /// What the caller is told when it fails every time.
        kind: ErrorType,
        /// For the log.
        reason: String,
    },
    /// The model failed.
    #[error("{0}")]
    Failed(String),
}

impl RunError {
    /// What the caller gets. Permanent errors never use a status that fal's clients retry.
    pub fn answer(&self) -> ErrorAnswer {
        match self {
            Self::Cancelled => ErrorAnswer::typed(ErrorType::ClientCancelled, "Request was cancelled"),
            Self::Invalid(problems) => ErrorAnswer::invalid(problems),
            Self::Unavailable(message) => ErrorAnswer::typed(ErrorType::BadRequest, message.as_str()),
            Self::Passing { kind, .. } => ErrorAnswer::typed(*kind, "The model cannot take this request now"),
            // what failed inside is for the log, not for the caller
            Self::Failed(_) => ErrorAnswer::typed(ErrorType::RunnerServerError, "The model failed on this request"),
        }
    }

    /// Which kind of passing failure this is, if it is one.
    pub fn fault(&self) -> Option<Fault> {
        let Self::Passing { kind, .. } = self else { return None };
        Some(match kind {
            ErrorType::StartupTimeout => Fault::Timeout,
            ErrorType::RunnerConnectionError => Fault::ConnectionError,
            _ => Fault::ServerError,
        })
    }
}

impl From<scumble_engine::Error> for RunError {
    fn from(error: scumble_engine::Error) -> Self {
        match error {
            scumble_engine::Error::Cancelled => Self::Cancelled,
            scumble_engine::Error::Parameter { name, problem } => {
                Self::Invalid(vec![Problem::new(&[name], "value_error", format!("{name} {problem}"))])
            }
            error if error.is_checkpoint() => {
                Self::Unavailable(format!("This endpoint's weights cannot be used: {error}"))
            }
            error => Self::Failed(error.to_string()),
        }
    }
}
