//! What somebody has to do now and then: leases that ended, requests that nobody started in time.

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::Result;
use tokio_util::sync::CancellationToken;

use crate::outcome::failed;
use crate::run_one::set_aside;
use crate::work::Worker;

/// One round with every heartbeat, the first at once: after a crash the interrupted jobs should not wait.
pub(crate) async fn housekeeping(worker: Worker, drain: CancellationToken) {
    let mut rounds = tokio::time::interval(worker.config.heartbeat);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = drain.cancelled() => return,
        }
        if let Err(error) = round(&worker).await {
            tracing::error!(%error, "housekeeping failed; it is tried again");
        }
    }
}

async fn round(worker: &Worker) -> Result<()> {
    let reclaimed = worker.store.reclaim_expired(worker.config.limits, set_aside()).await?;
    for id in &reclaimed.requeued {
        tracing::warn!(job.id = %id, "its worker vanished; the job is queued again");
    }
    for id in &reclaimed.set_aside {
        tracing::error!(job.id = %id, "its worker vanished too often; the job is set aside");
    }
    for id in worker.store.overdue().await? {
        let answer = ErrorAnswer::typed(ErrorType::RequestTimeout, "The request did not start in the time it was given");
        worker.store.end_unstarted(id, failed(&answer)).await?;
    }
    Ok(())
}
