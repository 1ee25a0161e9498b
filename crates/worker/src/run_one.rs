//! One job: lease, run, save, finish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scumble_api::{ErrorAnswer, ErrorType, Input, JobOptions, Scope, rest_ms};
use scumble_meters::{End, EndpointLabel, Maker, Stage};
use scumble_store::{Change, Finish, Lease, Outcome, Product, Release, Result, State};
use tokio::sync::broadcast::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::adapters::GivenAdapter;
use crate::encoding;
use crate::faults::Point;
use crate::fetching;
use crate::inputs::{GivenPicture, Inputs, as_large_as_given, cancelled};
use crate::journal::{Journal, Pulse};
use crate::outcome::{fresh_seed, save, unsave};
use crate::runner::{Bill, Drawn, Request, RunError, Runner, Submitted, Watch, other_size, unchecked};
use crate::work::Worker;

/// How a lease ended.
pub(crate) enum Ending {
    /// With this outcome.
    Finished { status: u16, duration_ms: u64, end: End },
    /// Given back, because another attempt may succeed.
    Again { reason: String, rest_ms: i64 },
    /// Given back, because this process stops.
    Released,
    /// Somebody else has it.
    Lost,
}

/// A job that was claimed and started: its signs of life go on until this value is gone.
pub(crate) struct Begun {
    lease: Arc<Lease>,
    journal: Arc<Journal>,
    pulse: Pulse,
    began: Instant,
}

/// An input that is ready to be run.
pub(crate) struct Ready {
    checked: Input,
    runner: Arc<dyn Runner>,
    pictures: Vec<GivenPicture>,
    adapters: Vec<GivenAdapter>,
    /// The prompt to draw, where it is not the caller's.
    prompt: Option<String>,
    /// Values of the input that are other than they are stored, and where.
    as_sent: Vec<(Vec<String>, String)>,
}

/// A job that was run, and whose end nobody knows yet.
pub(crate) struct Run {
    lease: Arc<Lease>,
    journal: Arc<Journal>,
    /// The signs of life go on until the end is written down.
    pulse: Pulse,
    drawn: std::result::Result<(Request, Drawn), RunError>,
    duration_ms: u64,
}

impl Begun {
    /// `changes` are those announced since before the claim.
    pub(crate) fn new(worker: &Worker, lease: Lease, changes: Receiver<Change>, stop: &CancellationToken) -> Self {
        let lease = Arc::new(lease);
        let journal = Arc::new(Journal::new(worker, lease.clone()));
        let (every, lease_ms) = (worker.config.heartbeat, worker.config.lease_ms());
        let pulse = Pulse::start(&journal, changes, every, lease_ms, stop.clone());
        Self { lease, journal, pulse, began: Instant::now() }
    }

    /// Until it is this job's turn to have its files read, unless nobody wants it any more, or there is no time left.
    pub(crate) async fn turn(
        &self,
        beside: &mut fetching::Place,
        drain: &CancellationToken,
    ) -> std::result::Result<(), RunError> {
        tokio::select! {
            biased;
            () = cancelled(&*self.journal) => Err(RunError::Cancelled),
            () = beside.turn() => Ok(()),
            () = drain.cancelled() => {
                self.journal.stop();
                Err(RunError::Cancelled)
            }
        }
    }

    /// Checks the input, reads its pictures and adapters, and has its prompt made longer.
    pub(crate) async fn ready(&self, worker: &Worker) -> std::result::Result<Ready, RunError> {
        let endpoint = scumble_api::find(&self.lease.job.endpoint)
            .ok_or_else(|| RunError::Unavailable(format!("there is no endpoint {}", self.lease.job.endpoint)))?;
        let checked = endpoint.parse(&self.lease.job.input, Scope::Wire).map_err(RunError::Invalid)?;
        let runner = worker.models.runner(endpoint);
        let refused = runner.refuses(&checked);
        if !refused.is_empty() {
            return Err(RunError::Invalid(refused));
        }
        let inputs = Inputs::new(worker).of(self.lease.job.key_id.as_deref());
        let mut pictures = inputs.given(&checked, runner.needs(), &*self.journal).await?;
        if JobOptions::of(&self.lease.job.options).clear_mask {
            pictures = inputs.marked_by_colour(endpoint, pictures).await?;
        }
        let adapters = match runner.loads_adapters() {
            true => inputs.adapters(&checked, &*self.journal).await?,
            false => Vec::new(),
        };
        let prompt = match runner.draws_prompts() {
            true => worker.config.prompts.longer(&checked, &*self.journal).await?,
            false => None,
        };
        // of several runners one may load and the other send
        let as_sent = inputs.weights_as_sent(&checked).await?;
        Ok(Ready { checked, runner, pictures, adapters, prompt, as_sent })
    }

    /// A place among those that run, unless nobody wants the run any more.
    pub(crate) async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            place = places.clone().acquire_owned() => place.ok(),
            () = cancelled(&*self.journal) => None,
        }
    }

    /// Runs the job.
    pub(crate) async fn run(self, worker: &Worker, ready: std::result::Result<Ready, RunError>) -> Run {
        let Self { lease, journal, pulse, began } = self;
        let drawn = match ready {
            Ok(ready) => draw(worker, &lease, &journal, ready).await,
            Err(error) => Err(error),
        };
        worker.config.faults.pass(Point::AfterRun);
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Run { lease, journal, pulse, drawn, duration_ms }
    }
}

impl Run {
    /// Writes the end down. An error leaves the lease to expire: the job is tried again.
    pub(crate) async fn conclude(self, worker: &Worker) -> Result<Ending> {
        let Self { lease, journal, pulse: _pulse, drawn, duration_ms } = self;
        let made = keep(worker, &lease, &journal, drawn, duration_ms).instrument(scumble_traces::part!("save")).await;
        if journal.is_lost() {
            unsave(worker, &paths(&made)).await;
            return Ok(Ending::Lost);
        }
        if journal.is_stopping() && matches!(made, Err(RunError::Cancelled)) {
            return give_back(worker, &lease, &journal, Release::Drained, Ending::Released).await;
        }
        if let Err(error) = &made
            && let Some(rest_ms) = rest_before_another(worker, &lease, error)
        {
            let reason = error.to_string();
            let why = Release::Failed { reason: reason.clone(), rest_ms };
            return give_back(worker, &lease, &journal, why, Ending::Again { reason, rest_ms }).await;
        }
        finish(worker, &lease, made, &journal, duration_ms).instrument(scumble_traces::part!("finish")).await
    }
}

/// Gives the job back with what its run had to say; that is its `ending`, unless somebody else has it by now.
async fn give_back(worker: &Worker, lease: &Lease, journal: &Journal, why: Release, ending: Ending) -> Result<Ending> {
    journal.flush_if_possible().await;
    let is_ours = worker.store.release(lease, why).await?;
    Ok(if is_ours { ending } else { Ending::Lost })
}

/// How long the job rests before it is tried again; `None` when that is of no use, or was tried often enough.
fn rest_before_another(worker: &Worker, lease: &Lease, error: &RunError) -> Option<i64> {
    let fault = error.fault()?;
    let whole = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let attempts = whole(lease.job.counted_attempts());
    let rules = JobOptions::of(&lease.job.options).retry;
    rules.again(fault, attempts, whole(worker.config.limits.max_attempts)).then(|| rest_ms(attempts))
}

/// The request behind the job, run by whatever answers its endpoint. A panic ends the job, not the server.
async fn draw(
    worker: &Worker,
    lease: &Lease,
    journal: &Arc<Journal>,
    ready: Ready,
) -> std::result::Result<(Request, Drawn), RunError> {
    let Ready { checked, runner, pictures, adapters, prompt, as_sent } = ready;
    let id = checked.endpoint().id;
    let options = JobOptions::of(&lease.job.options);
    let ignored = options.ignored.into_iter().map(|name| format!("{id} has no field {name}; it was ignored"));
    for note in ignored.chain(options.notes) {
        journal.log(&note);
    }
    let seed = match checked.request().seed {
        Some(seed) => seed,
        None => fresh_seed().map_err(RunError::Failed)?,
    };
    let attempt = lease.job.counted_attempts().unsigned_abs();
    let mut request = Request::new(&checked, pictures, seed, attempt);
    encoding::ask_for(&mut request, options.encoding);
    if options.like_picture {
        as_large_as_given(&mut request);
    }
    request.adapters = adapters;
    if let Some(prompt) = prompt {
        request.input.prompt = prompt;
    }
    request.put(as_sent);
    request.resume = submitted_before(worker, lease).await?;
    let limit = worker.config.runs.of(id).map(|limit| (limit, "[worker] run_s"));
    let limit = limit.or_else(|| runner.longest().map(|longest| (longest, "three times deadline_s of its maker")));
    let (job, watch) = (request.clone(), journal.clone());
    let running = async move { runner.run(job, watch).await };
    let run = AbortOnDropHandle::new(tokio::spawn(running.in_current_span()));
    let drawn = within(limit, run, journal).await?;
    for (name, seconds) in &drawn.timings {
        // a stage that was not needed took no time
        if let Some(stage) = Stage::named(name).filter(|_| *seconds > 0.0) {
            worker.config.meters.jobs.stage.of(EndpointLabel::of(id), stage).observe(*seconds);
        }
    }
    if let Some(said) = other_size(&request, &drawn) {
        journal.log(&said);
    }
    if let Some(said) = unchecked(&request, &drawn) {
        journal.log(said);
    }
    Ok((request, encoding::encoded(drawn, options.encoding, &worker.config.memory).await?))
}

/// What becomes of a run. One that takes too long is told to stop, then left alone.
async fn within(
    limit: Option<(Duration, &str)>,
    mut run: AbortOnDropHandle<std::result::Result<Drawn, RunError>>,
    journal: &Journal,
) -> std::result::Result<Drawn, RunError> {
    let panicked = |error: JoinError| Err(RunError::Failed(format!("the runner panicked: {error}")));
    let Some((limit, setting)) = limit else { return run.await.unwrap_or_else(panicked) };
    if let Ok(ended) = timeout(limit, &mut run).await {
        return ended.unwrap_or_else(panicked);
    }
    journal.expire();
    let bill = match timeout(GRACE, &mut run).await {
        // it was about to end anyway
        Ok(Ok(Ok(drawn))) => return Ok(drawn),
        Ok(Ok(Err(RunError::Answered(answer)))) => answer.headers,
        _ => Vec::new(),
    };
    let bill = bill.into_iter().filter(|(name, _)| [Outcome::MAKER, Outcome::COST].contains(name)).collect();
    tracing::warn!(limit_s = limit.as_secs_f64(), setting, "a run took too long and was ended");
    Err(RunError::too_long(limit, setting, bill))
}

/// How long a run that was told to stop may take to do so.
const GRACE: Duration = Duration::from_secs(2);

/// What an earlier attempt left at a maker. A database that does not tell must not lead to paying twice.
async fn submitted_before(worker: &Worker, lease: &Lease) -> std::result::Result<Option<Submitted>, RunError> {
    if lease.attempt <= 1 {
        return Ok(None);
    }
    let events = worker.store.events(lease.job.id, 0).await.map_err(|error| RunError::Passing {
        kind: ErrorType::RunnerConnectionError,
        reason: format!("what earlier attempts did cannot be read: {error}"),
    })?;
    Ok(Submitted::latest(events))
}

/// An outcome whose files are stored, or why there is none.
type Made = std::result::Result<Product, RunError>;

/// How long drawn pictures wait for a place that is away.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Pause between two attempts to store them, beside those that the place makes by itself.
const PAUSE: Duration = Duration::from_secs(2);

/// Stores the pictures. Where their place is away they wait for it, and the lease is kept alive: they are not drawn, or
/// paid for, twice. A direct caller is told at once. That they cannot be stored is an outcome too.
async fn keep(
    worker: &Worker,
    lease: &Lease,
    journal: &Journal,
    drawn: std::result::Result<(Request, Drawn), RunError>,
    duration_ms: u64,
) -> Made {
    let (request, drawn) = drawn?;
    let began = Instant::now();
    let waits = !JobOptions::of(&lease.job.options).retry.never;
    let error = loop {
        match save(worker, lease, &request, &drawn, duration_ms).await {
            Ok(product) => return Ok(product),
            Err(error) if error.passes() && waits && began.elapsed() < KEPT => {
                tracing::warn!(job.id = %lease.job.id, %error, "the pictures wait for the place where they are kept");
                // somebody else has the job, its caller does not want it any more, or this process stops
                if timeout(PAUSE, cancelled(journal)).await.is_ok() {
                    return Err(RunError::Cancelled);
                }
            }
            Err(error) => break error,
        }
    };
    tracing::error!(job.id = %lease.job.id, %error, "the pictures cannot be stored");
    let kind = if error.passes() { ErrorType::RunnerConnectionError } else { ErrorType::InternalError };
    let mut answer = ErrorAnswer::typed(kind, "The pictures could not be stored");
    answer.headers.extend(drawn.bill.iter().flat_map(Bill::headers));
    Ok(Outcome::from(&answer).into())
}

fn paths(made: &Made) -> Vec<String> {
    made.iter().flat_map(|product| &product.files).map(|file| file.path.clone()).collect()
}

async fn finish(worker: &Worker, lease: &Lease, made: Made, journal: &Journal, duration_ms: u64) -> Result<Ending> {
    let (paths, last_words) = (paths(&made), journal.last_words().await);
    let product = match made {
        Ok(product) => product,
        Err(error) => {
            if let RunError::Failed(reason) | RunError::Passing { reason, .. } = &error {
                tracing::error!(job.id = %lease.job.id, reason, "the model failed");
            }
            Outcome::from(&error.answer()).into()
        }
    };
    let (status, end) = (product.outcome.status, end_of(&product.outcome, journal));
    let paid = product.outcome.paid().and_then(|(maker, usd)| Some((Maker::named(maker)?, usd.parse::<f64>().ok()?)));
    worker.config.faults.pass(Point::BeforeCommit);
    match worker.store.finish(lease, Product { last_words, ..product }).await? {
        Finish::Accepted => {
            if let Some((maker, usd)) = paid {
                worker.config.meters.makers.spend.of(maker).inc_by(usd.max(0.0));
            }
            Ok(Ending::Finished { status, duration_ms, end })
        }
        Finish::Superseded => {
            unsave(worker, &paths).await;
            Ok(Ending::Lost)
        }
    }
}

/// How a job with this outcome ends.
fn end_of(outcome: &Outcome, journal: &Journal) -> End {
    match outcome.end_state(journal.is_cancelled()) {
        State::Done => End::Done,
        State::Cancelled => End::Cancelled,
        State::Failed | State::Queued | State::Leased | State::Running => End::Failed,
    }
}

/// The outcome of a job that was given up.
pub(crate) fn set_aside() -> Outcome {
    let message = "The request crashed its worker, or was interrupted, too often and is not tried again";
    Outcome::from(&ErrorAnswer::typed(ErrorType::RunnerDisconnected, message))
}
