//! What answers a job: the engine here, a maker far away, a stand-in.

mod choice;
mod local;
mod maker;
mod rehearsal;
mod remarks;
mod stand_in;
mod timer;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use scumble_api::{Answers, Endpoint, ErrorAnswer, ErrorType, Fault, ImageRequest, Input, Problem, retryable};
use scumble_engine::{Pixels, Stage};
use scumble_meters::{Cache, Lookup};
use scumble_store::{Event, EventKind, Outcome};
use serde_json::{Map, Value, json};

use crate::adapters::GivenAdapter;
use crate::inputs::GivenPicture;
use crate::picture::Picture;
pub(crate) use choice::{Choice, Choices};
pub(crate) use local::Lanes;
pub use local::{Flagged, Local, Model, SafetyConfig, precision, refusals};
pub(crate) use maker::Closed;
pub use remarks::{other_size, swapped_guidance, unchecked};
pub use stand_in::StandIn;
pub use timer::Timer;

/// A job as runners see it: nothing of queues or HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was called.
    pub endpoint: &'static Endpoint,
    /// With what, as all endpoints have it.
    pub input: ImageRequest,
    /// With what, field by field: checked, every default filled.
    pub values: Map<String, Value>,
    /// The pictures that the input refers to, as far as the runner [needs](Runner::needs) them.
    pub pictures: Vec<GivenPicture>,
    /// The adapters that it refers to, where the runner [loads](Runner::loads_adapters) them.
    pub adapters: Vec<GivenAdapter>,
    /// The caller's seed, or the one that was chosen.
    pub seed: u64,
    /// How often this was tried, this time included.
    pub attempt: u64,
    /// What an earlier attempt left at a maker: [`Watch::submitted`]'s last word.
    pub resume: Option<Submitted>,
}

/// What has been sent to a maker and may have to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Which maker.
    pub maker: String,
    /// What that maker's runner needs to go on; opaque to others.
    pub ticket: String,
}

impl Submitted {
    /// What a job's events say of it, at last.
    pub(crate) fn latest(events: Vec<Event>) -> Option<Self> {
        events.into_iter().rev().find_map(|event| match event.kind {
            EventKind::Submitted { maker, ticket } => Some(Self { maker, ticket }),
            _ => None,
        })
    }
}

impl Request {
    /// A checked input, with the pictures it refers to, the seed to draw with and the number of this attempt.
    pub fn new(input: &Input, pictures: Vec<GivenPicture>, seed: u64, attempt: u64) -> Self {
        Self {
            endpoint: input.endpoint(),
            input: input.request(),
            values: input.values().clone(),
            pictures,
            adapters: Vec::new(),
            seed,
            attempt,
            resume: None,
        }
    }
}

impl Request {
    /// Puts texts where they belong in the values: names of fields and places in lists say where.
    pub(crate) fn put(&mut self, texts: Vec<(Vec<String>, String)>) {
        let mut values = Value::Object(std::mem::take(&mut self.values));
        for (path, text) in texts {
            if let Some(place) = values.pointer_mut(&format!("/{}", path.join("/"))) {
                *place = text.into();
            }
        }
        if let Value::Object(values) = values {
            self.values = values;
        }
    }
}

/// Which pictures a runner needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// All of them: one that cannot be read ends the job.
    Every,
    /// Only what needs no network: data URIs and files of this server.
    Near,
}

/// What a runner made.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// The pictures, encoded.
    pub pictures: Vec<Picture>,
    /// Seconds by stage.
    pub timings: BTreeMap<String, f64>,
    /// Whether these are cards that stand in for a model.
    pub stand_in: bool,
    /// The seed that was used, where it is not the request's.
    pub seed: Option<u64>,
    /// The prompt that was used, where it is not the request's.
    pub prompt: Option<String>,
    /// What a maker asks for it.
    pub bill: Option<Bill>,
    /// What a checker has said of each picture, where one has looked at them: the owner's, or a maker's.
    pub flags: Option<Vec<bool>>,
}

/// What a maker asks for pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// Which maker.
    pub maker: &'static str,
    /// In units of the endpoint's price.
    pub units: u32,
    /// In US dollars.
    pub usd: f64,
}

impl Bill {
    /// What the record of a job keeps of it.
    pub(crate) fn headers(&self) -> [(&'static str, String); 2] {
        [(Outcome::MAKER, self.maker.to_owned()), (Outcome::COST, format!("{:.6}", self.usd))]
    }
}

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Hears what a run does, and knows whether it should stop. Called from the thread that computes.
pub trait Watch: Send + Sync {
    /// A stage begins.
    fn stage(&self, stage: Stage);
    /// A step is done; `preview` makes a small picture of where it leads.
    fn step(&self, done: usize, total: usize, preview: &dyn Fn() -> Option<Pixels>);
    /// A line for the job's log.
    fn log(&self, message: &str);
    /// The same, of something that the caller should look at.
    fn warn(&self, message: &str) {
        self.log(message);
    }
    /// Something was looked for that may have been kept.
    fn looked_up(&self, _cache: Cache, _found: Lookup) {}
    /// Whether the run should stop now.
    fn cancelled(&self) -> bool;
    /// Whether it stops only here, and another attempt goes on with the job.
    fn resumes(&self) -> bool {
        false
    }
    /// Something is about to be sent to a maker, or is there. It is on disk when this returns; a sentence says why it
    /// is not. Where nothing is kept, there is nothing to go on with.
    fn submitted<'a>(&'a self, _maker: &'a str, _ticket: &'a str) -> Boxed<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// The seam between the queue and whatever makes pictures.
#[async_trait::async_trait]
pub trait Runner: Send + Sync {
    /// Which of the pictures that an input refers to have to be read before the run.
    fn needs(&self) -> Needs {
        Needs::Every
    }

    /// Whether adapters that an input names have to be here before the run.
    fn loads_adapters(&self) -> bool {
        false
    }

    /// Whether it draws a prompt as it is: then somebody else makes it longer where an input asks for that.
    fn draws_prompts(&self) -> bool {
        false
    }

    /// Loads the model of an endpoint before anybody asks for it, on the calling thread; `None` where there is nothing to load.
    fn preload(&self, _endpoint: &'static Endpoint, _watch: &dyn Watch) -> Option<Result<(), RunError>> {
        None
    }

    /// What of an input it cannot follow, found out before anything is fetched for it.
    fn refuses(&self, _input: &Input) -> Vec<Problem> {
        Vec::new()
    }

    /// What callers of this endpoint get from it.
    fn answers(&self, _endpoint: &Endpoint) -> Answers {
        Answers::Here
    }

    /// How long a run takes at the most, if it is known; a longer one hangs.
    fn longest(&self) -> Option<Duration> {
        None
    }

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
    #[error("{}", ErrorAnswer::invalid(.0).message())]
    Invalid(Vec<Problem>),
    /// Nothing here can answer the endpoint, or what should is broken; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
    /// Whoever was asked said no in words that callers understand.
    #[error("{}", .0.message())]
    Answered(Box<ErrorAnswer>),
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
            Self::Answered(answer) => (**answer).clone(),
            Self::Unavailable(message) => ErrorAnswer::typed(ErrorType::BadRequest, message.as_str()),
            Self::Passing { kind, .. } => ErrorAnswer::typed(*kind, "The model cannot take this request now"),
            // what failed inside is for the log, not for the caller
            Self::Failed(_) => ErrorAnswer::typed(ErrorType::RunnerServerError, "The model failed on this request"),
        }
    }

    /// There is no room for the pictures of a job now; another attempt may find some.
    pub(crate) fn busy() -> Self {
        let reason = "the memory of this process is taken by other requests".to_owned();
        Self::Passing { kind: ErrorType::RunnerSchedulingFailure, reason }
    }

    /// What a run gets that took longer than it may; `bill` is what it has cost all the same.
    pub(crate) fn too_long(limit: Duration, setting: &str, bill: Vec<(&'static str, String)>) -> Self {
        let msg = format!(
            "The run took longer than {} s, which is the most that it may here ({setting}); it was ended",
            limit.as_secs_f64()
        );
        let problem = Problem::new(&[], "generation_timeout", msg);
        let headers = retryable(false).into_iter().chain([("x-fal-billable-units", "0".to_owned())]).chain(bill);
        let answer = ErrorAnswer { status: 504, body: json!({ "detail": [problem] }), headers: headers.collect() };
        Self::Answered(Box::new(answer))
    }

    /// Which kind of passing failure this is, if it is one. A maker's refusal is, where the maker may take the same request
    /// later and nothing was paid for it.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Passing { kind: ErrorType::StartupTimeout, .. } => Some(Fault::Timeout),
            Self::Passing { kind: ErrorType::RunnerConnectionError, .. } => Some(Fault::ConnectionError),
            Self::Passing { .. } => Some(Fault::ServerError),
            Self::Answered(answer) => {
                let header =
                    |name: &str| answer.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
                let is_free = header(Outcome::COST).is_none_or(|cost| cost.parse() == Ok(0.0));
                let again = header("x-fal-needs-retry") == Some("1") && is_free;
                again.then_some(if answer.status == 504 { Fault::Timeout } else { Fault::ServerError })
            }
            Self::Cancelled | Self::Invalid(_) | Self::Unavailable(_) | Self::Failed(_) => None,
        }
    }
}

impl From<scumble_engine::Error> for RunError {
    fn from(error: scumble_engine::Error) -> Self {
        match error {
            scumble_engine::Error::Cancelled => Self::Cancelled,
            scumble_engine::Error::Parameter { name, problem } => {
                Self::Invalid(vec![Problem::new(&[name], "value_error", sentence(&problem))])
            }
            scumble_engine::Error::Adapter { field, name, problem } => {
                let loc: Vec<&str> = field.iter().map(String::as_str).collect();
                Self::Invalid(vec![Problem::new(&loc, "value_error", format!("{name}: {problem}"))])
            }
            // the owner can mend this, and the caller may be the owner
            error @ scumble_engine::Error::NotFinite { .. } => Self::Answered(Box::new(ErrorAnswer::typed(
                ErrorType::RunnerServerError,
                format!("The model failed on this request: {error}"),
            ))),
            error if error.is_checkpoint() => {
                Self::Unavailable(format!("This endpoint's weights cannot be used: {error}"))
            }
            // models that nobody uses are let go meanwhile
            error if error.is_out_of_memory() => {
                let reason = "the memory of the device did not suffice".to_owned();
                Self::Passing { kind: ErrorType::RunnerSchedulingFailure, reason }
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

/// What a caller reads behind the name of a field, which is not said again.
fn sentence(problem: &str) -> String {
    let mut rest = problem.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
