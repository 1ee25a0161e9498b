//! A direct call is "enqueue, then wait".

use std::sync::Arc;

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::{Change, JobId, Outcome, Result, Store};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::state::AppState;
use crate::submit::failed;

/// Waits for a job and cancels it when nobody waits any more: a caller who hangs up should not keep a device busy.
pub(crate) struct Wait {
    store: Arc<dyn Store>,
    id: JobId,
    armed: bool,
}

impl Wait {
    pub(crate) fn new(state: &AppState, id: JobId) -> Self {
        Self { store: state.store.clone(), id, armed: true }
    }

    /// The job is left to itself: it has ended, or may go on without anybody waiting.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }

    /// The outcome, as soon as there is one. `changes` must be older than the job, or its end could be missed until
    /// the next poll.
    pub(crate) async fn outcome(mut self, state: &AppState, mut changes: Receiver<Change>) -> Result<Option<Outcome>> {
        // one that nobody may come back for is new, and something happens to it before it ends
        let mut look = !self.armed;
        loop {
            if look {
                match state.store.job(self.id).await? {
                    Some(job) if job.outcome.is_none() => {}
                    ended => {
                        self.disarm();
                        return Ok(ended.and_then(|job| job.outcome));
                    }
                }
            }
            look = true;
            stirred(state, self.id, &mut changes).await;
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (store, id) = (self.store.clone(), self.id);
        let outcome = failed(&ErrorAnswer::typed(ErrorType::ClientDisconnected, "The caller hung up"));
        tokio::spawn(async move {
            if let Err(error) = store.cancel(id, outcome).await {
                tracing::warn!(job.id = %id, %error, "the job of a caller who hung up could not be cancelled");
            }
        });
    }
}

/// Until something happens to this job, or it is time to look anyway.
pub(crate) async fn stirred(state: &AppState, id: JobId, changes: &mut Receiver<Change>) {
    tokio::select! {
        () = about(id, changes) => {}
        () = tokio::time::sleep(state.config.poll) => {}
    }
}

/// Until something happens to this job, or may have.
async fn about(id: JobId, changes: &mut Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Job(changed)) if changed == id => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending::<()>().await,
        }
    }
}
