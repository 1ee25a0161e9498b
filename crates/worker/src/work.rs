//! The loop: wait for work, claim it, run it, until told to stop.

use std::sync::Arc;

use scumble_files::Files;
use scumble_store::{Claim, Claimable, Clock, Lease, Store};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::faults::Point;
use crate::housekeeping::housekeeping;
use crate::models::Models;
use crate::run_one::{Ending, run_one};
use crate::webhooks::Deliverer;

/// Everything that running jobs needs. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// Where jobs come from and outcomes go.
    pub store: Arc<dyn Store>,
    /// Where pictures go.
    pub files: Files,
    /// What makes them.
    pub models: Arc<Models>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The owner's settings.
    pub config: Config,
}

impl Worker {
    /// Works, and delivers webhooks, until `drain` is cancelled, then lets the jobs at hand end and returns. Once `stop`
    /// is cancelled, jobs at hand go back to the queue instead.
    pub async fn run(self, drain: CancellationToken, stop: CancellationToken) {
        let _keeper = AbortOnDropHandle::new(tokio::spawn(housekeeping(self.clone(), drain.clone())));
        let closing = CancellationToken::new();
        let delivering = Deliverer::new(&self).run(closing.clone(), stop.clone());
        let delivering = AbortOnDropHandle::new(tokio::spawn(delivering));
        let mut slots = JoinSet::new();
        for slot in 0..self.config.concurrency.max(1) {
            slots.spawn(self.clone().slot(slot, drain.clone(), stop.clone()));
        }
        while let Some(ended) = slots.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a worker slot ended unexpectedly");
            }
        }
        // the last jobs want to be told of, too
        closing.cancel();
        if let Err(error) = delivering.await {
            tracing::error!(%error, "the delivery of webhooks ended unexpectedly");
        }
    }

    async fn slot(self, slot: usize, drain: CancellationToken, stop: CancellationToken) {
        let name = format!("{}/{slot}", self.config.name);
        let lease_ms = self.config.lease_ms();
        let claim = Claim { worker: name, endpoints: Claimable::All, lease_ms, per_key: self.config.per_key };
        // ask to be woken before looking, so that nothing slips in between
        let mut changes = self.store.changes();
        while !drain.is_cancelled() {
            self.config.faults.pass(Point::BeforeClaim);
            match self.store.claim(&claim).await {
                Ok(Some(lease)) => self.work_on(lease, &stop).await,
                Ok(None) => self.wait(&mut changes, &drain).await,
                Err(error) => {
                    tracing::error!(%error, "cannot look for work");
                    self.wait(&mut changes, &drain).await;
                }
            }
        }
    }

    async fn work_on(&self, lease: Lease, stop: &CancellationToken) {
        let (job, endpoint) = (lease.job.id, lease.job.endpoint.clone());
        tracing::info!(job.id = %job, endpoint.id = endpoint, attempt = lease.attempt, "job taken");
        match run_one(self, lease, stop).await {
            Ok(Ending::Finished { status, duration_ms }) => {
                tracing::info!(job.id = %job, endpoint.id = endpoint, status, duration_ms, "job finished");
            }
            Ok(Ending::Again { reason, rest_ms }) => {
                tracing::warn!(job.id = %job, endpoint.id = endpoint, reason, rest_ms, "job is tried again");
            }
            Ok(Ending::Released) => tracing::info!(job.id = %job, endpoint.id = endpoint, "job given back"),
            Ok(Ending::Lost) => {
                tracing::warn!(job.id = %job, endpoint.id = endpoint, "job taken over by another worker");
            }
            // the lease ends by itself, and the job is tried again
            Err(error) => tracing::error!(job.id = %job, endpoint.id = endpoint, %error, "job could not be finished"),
        }
    }

    /// Until somebody announces work, or it is time to look anyway.
    async fn wait(
        &self,
        changes: &mut tokio::sync::broadcast::Receiver<scumble_store::Change>,
        drain: &CancellationToken,
    ) {
        let announced = async {
            loop {
                match changes.recv().await {
                    Ok(scumble_store::Change::Queued { .. }) | Err(RecvError::Lagged(_)) => return,
                    Ok(scumble_store::Change::Job(_) | scumble_store::Change::Delivery) => {}
                    // no announcements any more: polling remains
                    Err(RecvError::Closed) => std::future::pending::<()>().await,
                }
            }
        };
        tokio::select! {
            () = announced => {}
            () = tokio::time::sleep(self.config.poll) => {}
            () = drain.cancelled() => {}
        }
    }
}
