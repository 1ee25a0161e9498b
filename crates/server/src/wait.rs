//! A direct call is "enqueue, then wait".

use std::time::{Duration, Instant};

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::{Cancel, JobId, Outcome, State, Store};
use tokio::sync::Mutex;

use crate::answer::Refusal;
use crate::state::AppState;
use crate::stop::{Phase, Phases, Waiting, stopping, stuck};
use crate::watch::{Watch, What};

/// How often a cancel is tried that the database refuses, and the pause after the first try, doubled each time.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Who waits in line for so long wonders whether anybody comes.
const DOUBT: Duration = Duration::from_secs(3);

/// For so long an answer to that is good.
const GOOD: Duration = Duration::from_secs(10);

/// Waits for a job and cancels it when nobody waits any more: a caller who hangs up should not keep a device busy.
pub(crate) struct Wait {
    state: AppState,
    id: JobId,
    armed: bool,
    since: Instant,
    /// The server does not stop before it has ended.
    _waiting: Waiting,
}

/// What is heard of a wait that may be in vain.
pub(crate) enum Hope {
    /// It goes on.
    Left,
    /// The job has ended meanwhile.
    Ended,
    /// The caller gets this, and the job does not run.
    Lost(Refusal),
}

impl Wait {
    pub(crate) fn new(state: &AppState, id: JobId) -> Self {
        Self { state: state.clone(), id, armed: true, since: Instant::now(), _waiting: state.stop.wait_for(id) }
    }

    /// The job is left to itself: it has ended, or may go on without anybody waiting.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }

    /// The outcome, as soon as there is one. `end` must be older than the job, or its end could be missed until the next
    /// poll.
    ///
    /// # Errors
    /// The database does not answer, the server stops, or nobody can take up the job.
    pub(crate) async fn outcome(mut self, state: &AppState, end: Watch) -> Result<Option<Outcome>, Refusal> {
        // a call that was repeated finds the job of the first time, which may have ended
        let is_new = end.id() == self.id;
        let end = if is_new { end } else { state.watches.watch(self.id, What::End) };
        let mut phases = state.stop.hear();
        // a phase that began meanwhile is not announced again
        let mut look = !is_new || phases.now() > Phase::Serving;
        loop {
            if look {
                let outcome = state.store.outcome(self.id).await?;
                let job = state.store.summary(self.id).await?;
                // without an outcome it goes on, unless it was deleted
                let (None, Some(job)) = (&outcome, job) else {
                    self.disarm();
                    return Ok(outcome);
                };
                match self.hope(state, job.state).await {
                    Hope::Left => {}
                    Hope::Ended => continue,
                    Hope::Lost(refusal) => return Err(refusal),
                }
            }
            look = true;
            stirred(state, &end, &mut phases).await;
        }
    }

    /// Whether there is any use in waiting for a job in this state. Where there is none, the job is cancelled.
    pub(crate) async fn hope(&mut self, state: &AppState, job: State) -> Hope {
        let (refusal, why) = match (state.stop.phase(), job) {
            (Phase::Closing, _) | (Phase::Draining, State::Queued) => (stopping(), "The server was stopped"),
            (Phase::Serving, State::Queued) if self.is_stuck(state).await => (stuck(), "No worker could take it up"),
            (Phase::Serving | Phase::Draining, _) => return Hope::Left,
        };
        if !self.armed {
            // the caller may come back for it
            return Hope::Lost(refusal);
        }
        match self.state.cancel(self.id, unread(why)).await {
            Ok(Cancel::AlreadyEnded) => return Hope::Ended,
            Ok(Cancel::Removed | Cancel::Requested | Cancel::Unknown) => self.disarm(),
            // tried again when this goes
            Err(error) => {
                tracing::warn!(job.id = %self.id, %error, "a job that nobody waits for cannot be cancelled now");
            }
        }
        Hope::Lost(refusal)
    }
}

impl Wait {
    /// Whether nobody can take up a job: workers in this process say so, for those elsewhere a write of our own has to do.
    async fn is_stuck(&self, state: &AppState) -> bool {
        state.store.stuck().is_some() || (self.since.elapsed() >= DOUBT && state.doubt.is_right(&*state.store).await)
    }
}

/// Whether the database can be written, asked now and then while somebody waits in line.
#[derive(Default)]
pub(crate) struct Doubt(Mutex<Option<(Instant, bool)>>);

impl Doubt {
    async fn is_right(&self, store: &dyn Store) -> bool {
        let mut known = self.0.lock().await;
        if let Some((at, is_right)) = *known
            && at.elapsed() < GOOD
        {
            return is_right;
        }
        let is_right = store.prove().await.is_err_and(|error| error.lasts());
        *known = Some((Instant::now(), is_right));
        is_right
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.armed {
            self.state.stop.cancels.spawn(cancel(self.state.clone(), self.id));
        }
    }
}

/// Cancels a job whose caller is gone. A database that refuses may take it later.
pub(crate) async fn cancel(state: AppState, id: JobId) {
    for tries in 0..TRIES {
        match state.cancel(id, unread("The caller hung up")).await {
            Ok(_) | Err(scumble_store::Error::Closed) => return,
            Err(error) => {
                tracing::warn!(job.id = %id, %error, "the job of a caller who hung up could not be cancelled");
            }
        }
        tokio::time::sleep(FIRST_PAUSE * 2u32.pow(tries)).await;
    }
}

/// What a job ends with that nobody reads.
fn unread(why: &str) -> Outcome {
    Outcome::from(&ErrorAnswer::typed(ErrorType::ClientDisconnected, why))
}

/// Until something happens to a job, the server stops, or it is time to look anyway.
pub(crate) async fn stirred(state: &AppState, watch: &Watch, phases: &mut Phases) {
    tokio::select! {
        () = watch.heard() => {}
        () = phases.changed() => {}
        () = tokio::time::sleep(state.config.poll) => {}
    }
}
