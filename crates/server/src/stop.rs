//! An orderly stop, as callers see it.
//!
//! While the server drains, it says that it is not ready and refuses direct calls in a way that may be repeated; what waits
//! in line for a caller here is answered at once and does not run: at the next start nobody would read it. What is at work
//! has its time to end. Submits to the queue are taken as long as somebody listens: they are on disk and lose nothing. When
//! it closes, everybody has their answer, and streams that only tell how something goes end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::{JobId, Store};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::answer::Refusal;

/// Pause between two looks at the jobs that callers wait for.
const PAUSE: Duration = Duration::from_millis(50);

/// How far the server is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not on its way at all.
    Serving,
    /// Nothing new is begun for callers who wait.
    Draining,
    /// Nobody waits any more.
    Closing,
}

/// The phase of this process, who waits in it, and what is still to be done for those who went away.
pub(crate) struct Stop {
    phase: watch::Sender<Phase>,
    /// How many wait for each job.
    waits: Arc<Mutex<HashMap<JobId, usize>>>,
    /// Cancels under way.
    pub(crate) cancels: TaskTracker,
}

/// Hears of the next phase.
pub(crate) struct Phases(watch::Receiver<Phase>);

/// Somebody waits for a job, for as long as this is there.
pub(crate) struct Waiting {
    waits: Arc<Mutex<HashMap<JobId, usize>>>,
    id: JobId,
}

impl Default for Stop {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), waits: Arc::default(), cancels: TaskTracker::new() }
    }
}

impl Stop {
    /// Goes on to a phase; there is no way back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let is_news = *current < phase;
            *current = phase.max(*current);
            is_news
        });
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn hear(&self) -> Phases {
        Phases(self.phase.subscribe())
    }

    /// # Errors
    /// Nothing is begun any more for a caller who waits.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.phase() == Phase::Serving { Ok(()) } else { Err(stopping()) }
    }

    pub(crate) fn wait_for(&self, id: JobId) -> Waiting {
        *lock(&self.waits).entry(id).or_default() += 1;
        Waiting { waits: self.waits.clone(), id }
    }

    /// Until every job that somebody waits for here has ended. A caller who reads slowly keeps nobody.
    pub(crate) async fn answered(&self, store: &dyn Store) {
        while self.phase() < Phase::Closing && self.is_awaited(store).await {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Until nobody waits, and all cancels are made.
    pub(crate) async fn settled(&self) {
        while !lock(&self.waits).is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        self.cancels.close();
        self.cancels.wait().await;
    }

    async fn is_awaited(&self, store: &dyn Store) -> bool {
        let ids: Vec<JobId> = lock(&self.waits).keys().copied().collect();
        for id in ids {
            match store.summary(id).await {
                Ok(Some(job)) if !job.state.is_end() => return true,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "how requests stand that callers wait for is not known");
                    return false;
                }
            }
        }
        false
    }
}

impl Phases {
    pub(crate) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Until the phase is another than when this was asked the last time.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // the server's state is gone, and its phases with it
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = lock(&self.waits);
        if let Some(number) = waits.get_mut(&self.id) {
            *number -= 1;
            if *number == 0 {
                waits.remove(&self.id);
            }
        }
    }
}

/// What callers hear of a server that stops. They may ask again: another one may be there by then.
pub(crate) fn stopping() -> Refusal {
    let detail = "The server is being stopped and takes no direct calls; send the request again in a few seconds";
    ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, detail).into()
}

/// What callers hear when no worker can take up their request.
pub(crate) fn stuck() -> Refusal {
    let detail = "The server cannot take up requests now, because its database cannot be written: its log says why, and its \
                  owner has to see to it; send the request again later";
    ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, detail).into()
}

fn lock(waits: &Mutex<HashMap<JobId, usize>>) -> MutexGuard<'_, HashMap<JobId, usize>> {
    waits.lock().unwrap_or_else(PoisonError::into_inner)
}
