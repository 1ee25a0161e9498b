//! From a request to a job: what direct calls and the queue do alike.

use axum::body::Bytes;
use axum::http::HeaderMap;
use scumble_api::{Endpoint, EndpointId, ErrorAnswer, Scope};
use scumble_store::{Admission, Enqueued, Job, JobId, NewJob, Outcome, Priority};
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::state::AppState;
use crate::wait::Wait;

/// A call that was read but not yet checked against its endpoint's fields.
pub(crate) struct Call {
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) body: Value,
    /// Whether somebody watches the job: a worker then shows how it goes.
    pub(crate) stream: bool,
}

impl Call {
    /// Reads the id and the body; an empty body means `{}`.
    pub(crate) fn read(id: &str, body: &Bytes) -> Result<Self, Refusal> {
        let endpoint = endpoint(id)?;
        let body = if body.iter().all(u8::is_ascii_whitespace) {
            json!({})
        } else {
            serde_json::from_slice(body).map_err(|e| ErrorAnswer::bad_json(&e.to_string()))?
        };
        Ok(Self { endpoint, body, stream: false })
    }

    /// Puts the call on the queue; answers after the commit.
    ///
    /// # Errors
    /// The problems of the input, before anything is stored.
    pub(crate) async fn enqueue(
        self,
        state: &AppState,
        caller: &Authorized,
        headers: &HeaderMap,
    ) -> Result<Accepted, Refusal> {
        let input = self.endpoint.parse(&self.body, Scope::Wire).map_err(|p| ErrorAnswer::invalid(&p))?;
        let mut options = json!({ "ignored": input.ignored() });
        if self.stream {
            options["stream"] = true.into();
        }
        let job = new_job(state, self.endpoint, input.to_json(), options, caller, headers);
        Accepted::from(state.store.enqueue(job, Admission::default()).await?)
    }

    /// Puts the call on the queue even if its input is wrong: fal's queue accepts every request and reports the
    /// problems as its result.
    pub(crate) async fn enqueue_any(
        self,
        state: &AppState,
        caller: &Authorized,
        headers: &HeaderMap,
    ) -> Result<Accepted, Refusal> {
        let problems = match self.endpoint.parse(&self.body, Scope::Wire) {
            Ok(_) => return self.enqueue(state, caller, headers).await,
            Err(problems) => problems,
        };
        let job = new_job(state, self.endpoint, self.body, json!({}), caller, headers);
        let outcome = failed(&ErrorAnswer::invalid(&problems));
        Accepted::from(state.store.enqueue_ended(job, Admission::default(), outcome).await?)
    }
}

/// Runs a call that came over a connection of many: a refusal of it is an outcome too.
pub(crate) async fn run_to_outcome(
    state: &AppState,
    caller: &Authorized,
    call: Result<Call, Refusal>,
) -> (Option<JobId>, Outcome) {
    let mut id = None;
    let refused = |refusal: Refusal| failed(refusal.answer());
    let outcome = async {
        // subscribed before the job exists, so that its end cannot be missed
        let changes = state.store.changes();
        let job = call?.enqueue(state, caller, &HeaderMap::new()).await?.job;
        id = Some(job.id);
        let outcome = Wait::new(state, job.id).outcome(state, changes).await?;
        outcome.ok_or_else(|| Refusal::plain(404, "Request not found"))
    };
    let outcome = outcome.await.unwrap_or_else(refused);
    (id, outcome)
}

/// A call that became a job.
pub(crate) struct Accepted {
    pub(crate) job: Job,
    /// How many of its endpoint go before it.
    pub(crate) position: u64,
}

impl Accepted {
    fn from(enqueued: Enqueued) -> Result<Self, Refusal> {
        match enqueued {
            Enqueued::New { job, position } => Ok(Self { job, position }),
            Enqueued::Repeated(job) => Ok(Self { job, position: 0 }),
            Enqueued::WordReused | Enqueued::TooManyWaiting(_) | Enqueued::TooManyAlive(_) => {
                Err(Refusal::plain(429, "Too many requests"))
            }
        }
    }
}

/// The endpoint of this id.
pub(crate) fn endpoint(id: &str) -> Result<&'static Endpoint, Refusal> {
    let known = EndpointId::parse(id).and_then(|id| scumble_api::find(id.as_str()));
    known.ok_or_else(|| ErrorAnswer::unknown_endpoint(id).into())
}

fn new_job(
    state: &AppState,
    endpoint: &'static Endpoint,
    input: Value,
    options: Value,
    caller: &Authorized,
    headers: &HeaderMap,
) -> NewJob {
    NewJob {
        key_id: caller.key_id.clone(),
        priority: priority(headers),
        start_by_ms: start_timeout_ms(headers).map(|ms| state.clock.now_ms().saturating_add(ms)),
        options,
        ..NewJob::new(endpoint.id, input)
    }
}

/// Unknown priorities are ignored, as fal does.
fn priority(headers: &HeaderMap) -> Priority {
    match headers.get("x-fal-queue-priority").and_then(|v| v.to_str().ok()) {
        Some(word) if word.eq_ignore_ascii_case("low") => Priority::Low,
        _ => Priority::Normal,
    }
}

/// Seconds that the caller is willing to wait for a start, under either of the header's names; at least 0.1.
fn start_timeout_ms(headers: &HeaderMap) -> Option<i64> {
    let header = headers.get("x-fal-request-start-timeout").or_else(|| headers.get("x-fal-request-timeout"))?;
    let seconds: f64 = header.to_str().ok()?.trim().parse().ok()?;
    (seconds > 0.1 && seconds < 1e9).then_some((seconds * 1000.0) as i64)
}

/// The outcome of an error that no worker saw.
pub(crate) fn failed(answer: &ErrorAnswer) -> Outcome {
    Outcome {
        status: answer.status,
        body: answer.body.clone(),
        headers: answer.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        error: Some(answer.message()),
        error_type: answer.body["error_type"].as_str().map(str::to_owned),
        inference_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_timeout_is_read_under_both_names_and_nonsense_is_ignored() {
        let read = |name: &'static str, value: &'static str| {
            start_timeout_ms(&HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]))
        };
        assert_eq!(read("x-fal-request-timeout", "30.0"), Some(30_000));
        assert_eq!(read("x-fal-request-start-timeout", "2"), Some(2_000));
        assert_eq!(read("x-fal-request-timeout", "0.05"), None);
        assert_eq!(read("x-fal-request-timeout", "soon"), None);
        assert_eq!(read("x-fal-request-timeout", "1e30"), None);
    }
}
