//! Direct calls that went from hand to hand, and are not in the database yet.
//!
//! Who makes a direct call hears of it with its outcome and not before, so there is nothing to lose until then. One that goes
//! straight to a worker who waits is written with its end, all of it in one transaction. One that lasts is written down
//! after a moment, so that everybody sees what is at work; from then on it is a job like any other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::leases::{self, Token};
use super::steps::{self, Standing};
use super::writer::{Tx, Writer};
use super::{calls, claims};
use crate::{Admission, Change, Claim, Error, Finish, Job, JobId, Lease, NewJob, Product, Result, State};

/// How long a job may be at work before it is written down.
const LASTS: Duration = Duration::from_millis(10);

/// Pause before anything is tried again where it failed.
const AGAIN: Duration = Duration::from_secs(1);

/// The jobs that a worker has and the database has not. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Unwritten(Arc<Shared>);

#[derive(Default)]
struct Shared {
    jobs: Mutex<HashMap<JobId, Arc<Handed>>>,
    /// Why the latest write failed, and when.
    failure: Mutex<Option<(Instant, Error)>>,
}

/// A job that was handed to a worker.
struct Handed {
    job: Job,
    worker: String,
    lease_ms: i64,
    /// Nobody runs it any more, and its end could not be written.
    given_up: AtomicBool,
}

/// Whether a job may go to a worker without the database being asked: nothing about it depends on what is there, and
/// nobody is told of it.
pub(super) fn may_be_handed(job: &NewJob, admission: &Admission) -> bool {
    let Admission { max_waiting: _, max_at_work, once, quiet } = admission;
    *quiet
        && max_at_work.is_none()
        && once.is_none()
        && job.hint.is_none()
        && job.webhook.is_none()
        && job.given.is_empty()
}

/// A job that runs from its first moment.
pub(super) fn running(new: NewJob, now_ms: i64) -> Job {
    Job { attempt: 1, started_ms: Some(now_ms), ..Job::accepted(new, 0, now_ms, State::Running) }
}

impl Unwritten {
    /// The lease of a job that goes to whoever makes this claim. The second is kept to be written.
    pub(super) fn hand(&self, job: Job, kept: Job, claim: &Claim) -> Lease {
        let Claim { worker, lease_ms, .. } = claim;
        let handed =
            Handed { job: kept, worker: worker.clone(), lease_ms: *lease_ms, given_up: AtomicBool::new(false) };
        self.lock().insert(job.id, Arc::new(handed));
        let expires_ms = job.created_ms.saturating_add(*lease_ms);
        Lease { attempt: job.attempt, job, worker: worker.clone(), expires_ms }
    }

    /// Whether this job is not in the database yet.
    pub(super) fn has(&self, id: JobId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Why no job should be begun now: the end of the one before could not be written a moment ago.
    pub(super) fn refusal(&self) -> Option<Error> {
        let failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().filter(|(at, _)| at.elapsed() < AGAIN).map(|(_, error)| error.clone())
    }

    /// Remembers how a write went.
    fn note<T>(&self, written: Result<T>) -> Result<T> {
        let failure = written.as_ref().err().map(|error| (Instant::now(), error.clone()));
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        written
    }

    /// Nobody runs this job any more.
    pub(super) fn give_up(&self, id: JobId) {
        if let Some(handed) = self.of(id) {
            handed.given_up.store(true, Ordering::Release);
        }
    }

    /// Writes a job down if it lasts. One that can neither be run nor written is forgotten, once whoever waits for it has
    /// had time to hear of that.
    pub(super) async fn watch(self, id: JobId, writer: Writer) {
        let mut pause = LASTS;
        loop {
            let is_over = pause == AGAIN && self.of(id).is_none_or(|handed| handed.given_up.load(Ordering::Acquire));
            tokio::time::sleep(pause).await;
            match self.write_down(id, &writer).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(job.id = %id, %error, "a direct call cannot be written down"),
            }
            if is_over {
                self.lock().remove(&id);
                return;
            }
            pause = AGAIN;
        }
    }

    /// Writes a job down unless it is in the database already, or nobody knows it.
    pub(super) async fn write_down(&self, id: JobId, writer: &Writer) -> Result<()> {
        let Some(handed) = self.of(id) else { return Ok(()) };
        let all = self.clone();
        // it may have been forgotten before its turn came
        let write = move |tx: &mut Tx| if all.has(id) { handed.write_down(tx).map(|()| true) } else { Ok(false) };
        let written = writer.note(write).await;
        // nothing was tried where nothing was to be written
        if !matches!(written, Ok(false)) {
            self.note(written)?;
        }
        self.lock().remove(&id);
        Ok(())
    }

    /// [`write_down`](Self::write_down) for a caller who wants to know how it stands. Who hears that it can neither be run
    /// nor written is the last to hear of it.
    pub(super) async fn answer_for(&self, id: JobId, writer: &Writer) -> Result<()> {
        let written = self.write_down(id, writer).await;
        if written.is_err() && self.of(id).is_some_and(|handed| handed.given_up.load(Ordering::Acquire)) {
            self.lock().remove(&id);
        }
        written
    }

    /// Writes the end of a job that may not have been written so far.
    pub(super) async fn finish(&self, token: Token, product: Product, writer: &Writer) -> Result<Finish> {
        let Some(handed) = self.of(token.job_id) else {
            return writer.write(move |tx| leases::finish(tx, token, product)).await;
        };
        let job = handed.clone();
        let finished = self.note(writer.write(move |tx| job.finish(tx, token, product)).await);
        if finished.is_ok() {
            self.lock().remove(&token.job_id);
        } else {
            handed.given_up.store(true, Ordering::Release);
        }
        finished
    }

    fn of(&self, id: JobId) -> Option<Arc<Handed>> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Handed>>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handed {
    /// As if it had been queued, claimed and started when it was handed over; only queued if nobody runs it any more.
    fn write_down(&self, tx: &mut Tx) -> Result<()> {
        let Self { job, worker, lease_ms, given_up } = self;
        // two may have come to write it down
        if Standing::of(tx, job.id)?.is_some() {
            return Ok(());
        }
        let queued = Job { state: State::Queued, attempt: 0, started_ms: None, ..job.clone() };
        let queued = calls::insert(tx, queued, None)?;
        if given_up.load(Ordering::Acquire) {
            tx.changes.push(Change::Queued { endpoint: queued.endpoint });
            return Ok(());
        }
        let now_ms = std::mem::replace(&mut tx.now_ms, job.created_ms);
        // a sign of life as of now
        let lease_ms = lease_ms.saturating_add(now_ms.saturating_sub(job.created_ms));
        let lease = claims::lease(tx, queued.seq, worker.clone(), lease_ms)?;
        steps::run(tx, &Standing::of_queued(&lease.job))?;
        tx.now_ms = now_ms;
        Ok(())
    }

    /// Its whole life at once, unless a part of it was written before.
    fn finish(&self, tx: &mut Tx, token: Token, product: Product) -> Result<Finish> {
        let Self { job, worker, .. } = self;
        let state = product.outcome.end_state(false);
        let ended = match calls::insert(tx, Job { state, finished_ms: Some(tx.now_ms), ..job.clone() }, None) {
            Err(Error::JobExists(_)) => return leases::finish(tx, token, product),
            inserted => inserted?,
        };
        let standing = Standing::of_queued(&ended);
        let now_ms = std::mem::replace(&mut tx.now_ms, job.created_ms);
        steps::entered(tx, &standing, State::Leased, Some(claims::claimed_by(worker)))?;
        steps::entered(tx, &standing, State::Running, None)?;
        tx.now_ms = now_ms;
        leases::leave_behind(tx, &standing, product)?;
        Ok(Finish::Accepted)
    }
}
