//! What somebody has to do now and then: leases that ended, requests that nobody started in time, and (in `cleanup`)
//! what has been kept long enough.

use std::time::Duration;

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::Result;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cleanup::cleanup;
use crate::outcome::failed;
use crate::run_one::set_aside;
use crate::work::Worker;

/// How often to look for requests that nobody started in time: callers count seconds.
const OVERDUE: Duration = Duration::from_millis(250);

/// Looks for ended leases with every heartbeat, the first time at once: after a crash the interrupted jobs should not
/// wait.
pub(crate) async fn housekeeping(worker: Worker, drain: CancellationToken) {
    let (mut leases, mut starts) = (tokio::time::interval(worker.config.heartbeat), tokio::time::interval(OVERDUE));
    // in a task of its own: deleting many files must not keep a crashed worker's jobs waiting
    let _cleanup = AbortOnDropHandle::new(tokio::spawn(cleanup(worker.clone())));
    loop {
        let done = tokio::select! {
            _ = leases.tick() => reclaim(&worker).await,
            _ = starts.tick() => end_overdue(&worker).await,
            () = drain.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::error!(%error, "housekeeping failed; it is tried again");
        }
    }
}

async fn reclaim(worker: &Worker) -> Result<()> {
    let reclaimed = worker.store.reclaim_expired(worker.config.limits, set_aside()).await?;
    for id in &reclaimed.requeued {
        tracing::warn!(job.id = %id, "its worker vanished; the job is queued again");
    }
    for id in &reclaimed.set_aside {
        tracing::error!(job.id = %id, "its worker vanished too often; the job is set aside");
    }
    Ok(())
}

async fn end_overdue(worker: &Worker) -> Result<()> {
    for id in worker.store.overdue().await? {
        let answer =
            ErrorAnswer::typed(ErrorType::RequestTimeout, "The request did not start in the time it was given");
        worker.store.end_unstarted(id, failed(&answer)).await?;
    }
    Ok(())
}
