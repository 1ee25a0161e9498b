//! Who waits for which job. One task hears all changes and wakes those whom one concerns: were everybody to hear
//! everything, a thousand callers would be woken for each other's jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scumble_store::{Change, JobId};
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The ears of this process.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<HashMap<JobId, Vec<Watching>>>>);

struct Watching {
    what: What,
    wake: Arc<Notify>,
}

/// What somebody wants to hear of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Whatever happens to it.
    Anything,
    /// That it has ended.
    End,
}

/// An ear for one job. What happens between two waits is not missed.
pub(crate) struct Watch {
    id: JobId,
    wake: Arc<Notify>,
    watches: Watches,
}

impl Watches {
    /// Hears changes until their store is gone.
    pub(crate) fn hear(changes: Receiver<Change>) -> Self {
        let watches = Self::default();
        tokio::spawn(watches.clone().pass_on(changes));
        watches
    }

    /// Begins to listen. The job need not be there yet.
    pub(crate) fn watch(&self, id: JobId, what: What) -> Watch {
        let wake = Arc::new(Notify::new());
        self.lock().entry(id).or_default().push(Watching { what, wake: wake.clone() });
        Watch { id, wake, watches: self.clone() }
    }

    async fn pass_on(self, mut changes: Receiver<Change>) {
        loop {
            match changes.recv().await {
                Ok(Change::Job(id)) => self.wake(id, What::Anything),
                Ok(Change::Ended(id)) => self.wake(id, What::End),
                Ok(Change::Queued { .. } | Change::Cancelling(_) | Change::Delivery) => {}
                // some were missed, anybody's
                Err(RecvError::Lagged(_)) => self.lock().values().flatten().for_each(|w| w.wake.notify_one()),
                // those who wait look from time to time anyway
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn wake(&self, id: JobId, what: What) {
        let watches = self.lock();
        for watching in watches.get(&id).into_iter().flatten().filter(|watching| watching.what == what) {
            watching.wake.notify_one();
        }
    }

    /// A task that panicked has at worst left an entry too many.
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Vec<Watching>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The job it listens for.
    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    /// Until something was heard since the last time.
    pub(crate) async fn heard(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.watches.lock();
        if let Some(watching) = watches.get_mut(&self.id) {
            watching.retain(|watching| !Arc::ptr_eq(&watching.wake, &self.wake));
            if watching.is_empty() {
                watches.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::broadcast;

    use super::*;

    /// Whether it heard something, when everything sent before has been passed on.
    async fn has_heard(watch: &Watch) -> bool {
        // there is one other task here, and it passes on whatever there is
        tokio::task::yield_now().await;
        watch.heard().now_or_never().is_some()
    }

    #[tokio::test]
    async fn everybody_hears_of_their_own_job_only() {
        let (sender, changes) = broadcast::channel(16);
        let watches = Watches::hear(changes);
        let (mine, other) = (JobId::random(), JobId::random());
        let (anything, end) = (watches.watch(mine, What::Anything), watches.watch(mine, What::End));
        let others = watches.watch(other, What::Anything);
        sender.send(Change::Job(mine)).expect("somebody listens");
        assert!(has_heard(&anything).await && !has_heard(&end).await && !has_heard(&others).await);
        sender.send(Change::Ended(mine)).expect("somebody listens");
        assert!(has_heard(&end).await && !has_heard(&others).await);
        // once for however many
        for _ in 0..3 {
            sender.send(Change::Job(mine)).expect("somebody listens");
        }
        assert!(has_heard(&anything).await && !has_heard(&anything).await);
        drop((anything, end));
        assert_eq!(watches.lock().keys().collect::<Vec<_>>(), [&other], "who has gone leaves nothing behind");
    }

    #[tokio::test]
    async fn what_was_missed_concerns_everybody() {
        let (sender, changes) = broadcast::channel(2);
        let watches = Watches::hear(changes);
        let watch = watches.watch(JobId::random(), What::End);
        for _ in 0..5 {
            sender.send(Change::Job(JobId::random())).expect("somebody listens");
        }
        assert!(has_heard(&watch).await);
    }
}
