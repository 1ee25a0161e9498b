//! A direct call is "enqueue, then wait".

use std::sync::Arc;

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::{JobId, Outcome, Result, Store};

use crate::state::AppState;
use crate::watch::{Watch, What};

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

    /// The outcome, as soon as there is one. `end` must be older than the job, or its end could be missed until the next
    /// poll.
    pub(crate) async fn outcome(mut self, state: &AppState, end: Watch) -> Result<Option<Outcome>> {
        // a call that was repeated finds the job of the first time, which may have ended
        let is_new = end.id() == self.id;
        let end = if is_new { end } else { state.watches.watch(self.id, What::End) };
        let mut look = !is_new;
        loop {
            if look {
                let outcome = state.store.outcome(self.id).await?;
                // without one it goes on, unless it was deleted
                if outcome.is_some() || state.store.summary(self.id).await?.is_none() {
                    self.disarm();
                    return Ok(outcome);
                }
            }
            look = true;
            stirred(state, &end).await;
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (store, id) = (self.store.clone(), self.id);
        let outcome = Outcome::from(&ErrorAnswer::typed(ErrorType::ClientDisconnected, "The caller hung up"));
        tokio::spawn(async move {
            if let Err(error) = store.cancel(id, outcome).await {
                tracing::warn!(job.id = %id, %error, "the job of a caller who hung up could not be cancelled");
            }
        });
    }
}

/// Until something happens to a job, or it is time to look anyway.
pub(crate) async fn stirred(state: &AppState, watch: &Watch) {
    tokio::select! {
        () = watch.heard() => {}
        () = tokio::time::sleep(state.config.poll) => {}
    }
}
