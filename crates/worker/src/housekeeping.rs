//! What somebody has to do now and then: leases that ended, and (in `cleanup`) what has been kept long enough.

use std::time::{Duration, Instant};

use scumble_meters::{End, EndpointLabel, Loss};
use scumble_store::{JobId, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cleanup::cleanup;
use crate::run_one::set_aside;
use crate::work::Worker;

/// A database that takes longer for an answer was away.
const AWAY: Duration = Duration::from_secs(1);

/// Looks for ended leases with every heartbeat, the first time at once: after a crash the interrupted jobs should not
/// wait.
pub(crate) async fn housekeeping(worker: Worker, drain: CancellationToken) {
    let mut leases = tokio::time::interval(worker.config.heartbeat);
    // in a task of its own: deleting many files must not keep a crashed worker's jobs waiting
    let _cleanup = AbortOnDropHandle::new(tokio::spawn(cleanup(worker.clone())));
    loop {
        let done = tokio::select! {
            _ = leases.tick() => match at_hand(&worker).await {
                Ok(true) => reclaim(&worker).await,
                away => {
                    // who lives could not say so, and gets the time of a lease to do it
                    leases.reset_after(Duration::from_millis(worker.config.lease_ms().unsigned_abs()));
                    away.map(drop)
                }
            },
            () = drain.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::error!(%error, "housekeeping failed; it is tried again");
        }
    }
}

/// Says that this process works from now on, and takes back what processes that are gone have left.
pub(crate) async fn begin(worker: &Worker) {
    let begun = worker.store.begin_work(&worker.config.name).await;
    if let Err(error) = match begun {
        Ok(()) => reclaim(worker).await,
        error => error,
    } {
        tracing::error!(%error, "what others have left could not be looked for; it is tried again");
    }
}

/// Whether the database answers as it does when it was not away just now.
async fn at_hand(worker: &Worker) -> Result<bool> {
    let asked = Instant::now();
    worker.store.ping().await?;
    Ok(asked.elapsed() < AWAY.max(worker.config.heartbeat))
}

async fn reclaim(worker: &Worker) -> Result<()> {
    let reclaimed = worker.store.reclaim_expired(worker.config.limits, set_aside()).await?;
    let lost = reclaimed.requeued.len() + reclaimed.set_aside.len() + reclaimed.cancelled.len();
    worker.config.meters.jobs.leases_lost.of(Loss::Expired).inc_by(lost as u64);
    for id in &reclaimed.requeued {
        tracing::warn!(job.id = %id, "its worker vanished; the job is queued again");
    }
    for id in &reclaimed.set_aside {
        tracing::error!(job.id = %id, "its worker vanished too often; the job is set aside");
        ended(worker, *id, End::Failed).await;
    }
    for id in &reclaimed.cancelled {
        tracing::info!(job.id = %id, "its worker vanished; the job was to be cancelled, and is");
        ended(worker, *id, End::Cancelled).await;
    }
    Ok(())
}

/// Counts a job that has ended here.
async fn ended(worker: &Worker, id: JobId, end: End) {
    // a database that does not tell now has written the end all the same
    let endpoint = worker.store.summary(id).await.ok().flatten().map(|job| job.endpoint).unwrap_or_default();
    worker.config.meters.jobs.ended.of(EndpointLabel::of(&endpoint), end).inc();
}
