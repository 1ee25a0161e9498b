//! From a request to a job: what direct calls and the queue do alike.

use axum::body::Bytes;
use axum::http::HeaderMap;
use scumble_api::{
    Encoding, Endpoint, EndpointId, ErrorAnswer, ErrorType, Input, JobOptions, Scope, cut, read_json, retryable,
};
use scumble_meters::{End, EndpointLabel};
use scumble_store::{Admission, Enqueued, FileRecord, Job, JobId, NewJob, Outcome};
use serde_json::Value;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::given::{self, Given, Refused};
use crate::platform::{self, SubmitQuery};
use crate::state::AppState;
use crate::stop;
use crate::wait::Wait;
use crate::watch::What;

/// How much is kept of an input that was refused.
const REFUSED_BYTES: usize = 16 * 1024;

/// A call that was read but not yet checked against its endpoint's fields.
pub(crate) struct Call {
    /// Of the job that it becomes, unless it repeats an earlier one.
    pub(crate) id: JobId,
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) body: Value,
    /// Whether somebody watches the job: a worker then shows how it goes.
    pub(crate) stream: bool,
    /// The files of the job that it is a copy of.
    pub(crate) copied: Vec<FileRecord>,
    pub(crate) beside: Beside,
}

/// What another API than fal's lets its callers say beside the input.
#[derive(Default)]
pub(crate) struct Beside {
    /// How the pictures are written.
    pub(crate) encoding: Option<Encoding>,
    /// Whether a mask is transparent where it marks.
    pub(crate) clear_mask: bool,
    /// Whether pictures are to be as large as the first that was given.
    pub(crate) like_picture: bool,
    /// What makes two calls the same, where that is not their input.
    pub(crate) said: Option<Value>,
    /// What was not understood of it, for the job's log.
    pub(crate) notes: Vec<String>,
    /// The number of this job among those of one call. Only the first can be refused because its key is busy: the
    /// others wait until the key has room.
    pub(crate) part: usize,
}

/// Who calls, from where, and what their headers say.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) state: &'a AppState,
    pub(crate) caller: &'a Caller,
    pub(crate) authorized: &'a Authorized,
    pub(crate) headers: &'a HeaderMap,
}

/// A call that became a job.
pub(crate) struct Accepted {
    pub(crate) job: Job,
    /// How many of its endpoint go before it.
    pub(crate) position: u64,
}

impl Call {
    /// Reads the id and the body; an empty body means `{}`.
    pub(crate) fn read(id: &str, body: &Bytes) -> Result<Self, Refusal> {
        Ok(Self::new(endpoint(id)?, read_json(body)?))
    }

    /// A call of this endpoint.
    pub(crate) fn new(endpoint: &'static Endpoint, body: Value) -> Self {
        Self { id: JobId::random(), endpoint, body, stream: false, copied: Vec::new(), beside: Beside::default() }
    }

    /// A direct call: never retried here, refused while its key is busy. Answers once the job is a worker's or, after
    /// the commit, in the queue.
    ///
    /// # Errors
    /// The problems of the input, before anything is stored; that the server stops, or cannot take up work.
    pub(crate) async fn run(self, from: Origin<'_>) -> Result<Accepted, Refusal> {
        let span = self.span(from, "direct");
        told(self.admit_direct(from).instrument(span.clone()).await, &span)
    }

    async fn admit_direct(self, from: Origin<'_>) -> Result<Accepted, Refusal> {
        from.state.stop.check()?;
        from.state.room()?;
        if from.state.store.stuck().is_some() {
            return Err(stop::stuck());
        }
        let input = self.endpoint.parse(&self.body, Scope::Wire).map_err(|p| ErrorAnswer::invalid(&p))?;
        let mut options = platform::options(from.headers, from.caller)?;
        options.retry.never = true;
        options.stream = self.stream;
        let Beside { encoding, clear_mask, like_picture, said, notes, part } = &self.beside;
        options.notes = notes.iter().cloned().chain(input.notes()).collect();
        (options.encoding, options.clear_mask, options.like_picture) = (*encoding, *clear_mask, *like_picture);
        let once = platform::once(from.headers, self.endpoint.id, said.as_ref().unwrap_or(&self.body))?;
        let admission = Admission {
            max_waiting: from.state.config.queue_length,
            max_at_work: from.state.config.per_key_concurrency.map(u64::from).filter(|_| *part == 0),
            once: once.map(|once| platform::once_of_part(once, *part)),
            // streams name it before it ends
            quiet: !self.stream,
        };
        let Given { input, files, stored } = self.keep(&input, from).await?;
        let job = NewJob { given: files, ..self.job(input, &options, from) };
        accepted(from.state, given::enqueue(from.state, job, admission, stored).await?)
    }

    /// Puts the call on the queue, even if its input is wrong: fal's queue accepts every request and reports the
    /// problems as its result. Answers after the commit.
    pub(crate) async fn submit(self, from: Origin<'_>, query: SubmitQuery) -> Result<Accepted, Refusal> {
        let span = self.span(from, "queue");
        told(self.admit_queued(from, query).instrument(span.clone()).await, &span)
    }

    async fn admit_queued(self, from: Origin<'_>, query: SubmitQuery) -> Result<Accepted, Refusal> {
        from.state.room()?;
        let asked = query.max_waiting()?;
        let admission = Admission {
            max_waiting: asked.into_iter().chain(from.state.config.queue_length).min(),
            once: platform::once(from.headers, self.endpoint.id, &self.body)?,
            ..Admission::default()
        };
        let webhook = query.webhook(from.state.config.private_webhooks)?;
        let mut options = platform::options(from.headers, from.caller)?;
        options.stream = self.stream;
        let problems = match self.endpoint.parse(&self.body, Scope::Wire) {
            Ok(input) => {
                options.notes = input.notes();
                match self.keep(&input, from).await {
                    Ok(Given { input, files, stored }) => {
                        let job = NewJob { webhook, given: files, ..self.job(input, &options, from) };
                        return accepted(from.state, given::enqueue(from.state, job, admission, stored).await?);
                    }
                    Err(Refused::Invalid(problems)) => problems,
                    Err(Refused::Failed(refusal)) => return Err(refusal),
                }
            }
            Err(problems) => problems,
        };
        let outcome = Outcome::from(&ErrorAnswer::invalid(&problems));
        // it never runs: enough is kept to see what was wrong with it
        let job = NewJob { webhook, ..self.job(cut(&self.body, REFUSED_BYTES), &options, from) };
        let ended = accepted(from.state, from.state.store.enqueue_ended(job, admission, outcome).await?)?;
        let (id, endpoint) = (ended.job.id, self.endpoint.id);
        from.state.config.meters.jobs.ended.of(EndpointLabel::of(endpoint), End::Failed).inc();
        tracing::info!(job.id = %id, endpoint.id = endpoint, "job ended at once: its input is wrong");
        Ok(ended)
    }

    /// The beginning of the job's trace, or what goes on with its caller's.
    fn span(&self, from: Origin<'_>, way: &str) -> Span {
        scumble_traces::span!(
            "submit",
            platform::traceparent(from.headers),
            otel.kind = "server",
            otel.status_code = Empty,
            endpoint.id = self.endpoint.id,
            job.id = %self.id,
            http.response.status_code = Empty,
            way
        )
    }

    /// Puts the pictures of the input into files.
    async fn keep(&self, input: &Input, from: Origin<'_>) -> Result<Given, Refused> {
        Given::keep(from.state, input, from.authorized.key_id.as_deref(), self.copied.clone()).await
    }

    fn job(&self, input: Value, options: &JobOptions, from: Origin<'_>) -> NewJob {
        let key_id = from.authorized.key_id.clone();
        let job = NewJob { id: self.id, key_id, options: options.to_json(), ..NewJob::new(self.endpoint.id, input) };
        platform::heed(job, from.headers, &*from.state.clock)
    }
}

/// Runs a call that came over a connection of many: a refusal of it is an outcome too.
pub(crate) async fn run_to_outcome(from: Origin<'_>, call: Result<Call, Refusal>) -> (Option<JobId>, Outcome) {
    let (mut id, state) = (None, from.state);
    let refused = |refusal: Refusal| Outcome::from(refusal.answer());
    let outcome = async {
        let call = call?;
        // from before the job exists, so that its end cannot be missed
        let end = state.watches.watch(call.id, What::End);
        let job = call.run(from).await?.job;
        id = Some(job.id);
        let outcome = Wait::new(state, job.id).outcome(state, end).await?;
        outcome.ok_or_else(|| Refusal::plain(404, "Request not found"))
    };
    let outcome = outcome.await.unwrap_or_else(refused);
    (id, outcome)
}

/// The endpoint of this id.
pub(crate) fn endpoint(id: &str) -> Result<&'static Endpoint, Refusal> {
    let known = EndpointId::parse(id).and_then(|id| scumble_api::find(id.as_str()));
    known.ok_or_else(|| ErrorAnswer::unknown_endpoint(id).into())
}

/// Writes on the span what became of a submit.
fn told(accepted: Result<Accepted, Refusal>, span: &Span) -> Result<Accepted, Refusal> {
    match &accepted {
        // another one's, where the caller has sent it before
        Ok(Accepted { job, .. }) => span.record("job.id", tracing::field::display(job.id)),
        Err(refusal) => {
            let status = refusal.answer().status;
            if status >= 500 {
                span.record("otel.status_code", "ERROR");
            }
            span.record("http.response.status_code", i64::from(status))
        }
    };
    accepted
}

fn accepted(state: &AppState, enqueued: Enqueued) -> Result<Accepted, Refusal> {
    match enqueued {
        Enqueued::New { job, position } => {
            state.config.meters.jobs.accepted.of(EndpointLabel::of(&job.endpoint)).inc();
            Ok(Accepted { job, position })
        }
        Enqueued::Repeated(job) => Ok(Accepted { job, position: 0 }),
        Enqueued::WordReused => Err(platform::word_reused()),
        Enqueued::TooManyWaiting(waiting) => {
            let detail = format!("{waiting} requests are waiting for this endpoint already; try again later");
            Err(ErrorAnswer { headers: retryable(true).to_vec(), ..ErrorAnswer::plain(429, detail) }.into())
        }
        Enqueued::TooManyAtWork(_) => Err(too_many()),
    }
}

/// A direct call over a limit; fal's clients try again a little later.
pub(crate) fn too_many() -> Refusal {
    let detail = "Too many requests of yours run at once; try again later, or submit to the queue, where they wait";
    ErrorAnswer::typed(ErrorType::ConcurrentRequestsLimit, detail).into()
}
