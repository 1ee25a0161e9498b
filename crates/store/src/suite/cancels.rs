//! Cancelling, in every state.

use super::*;
use crate::{Cancel, Finish, Limits, Release};

/// A waiting job ends at once.
pub async fn while_queued(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::Removed);
    check_cancelled(&*store, id).await?;
    assert_eq!(store.position(id).await?, None);
    assert_eq!(claim(&*store, "w").await?, None);
    Ok(())
}

/// A worker that has not started yet learns it when it starts.
pub async fn while_leased(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = claimed(&*store, "w").await?;
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::Requested);
    assert!(job(&*store, id).await?.cancel_requested);
    assert_eq!(store.start(&lease).await?, TOLD_TO_CANCEL);
    assert_eq!(store.finish(&lease, cancelled().into()).await?, Finish::Accepted);
    check_cancelled(&*store, id).await
}

/// A worker that runs the job learns it with its next word, whichever that is.
pub async fn while_running(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::Requested);
    assert_eq!(store.cancel(id, failure(499, "again")).await?, Cancel::Requested);
    assert_eq!(store.heartbeat(&lease, LEASE_MS).await?, TOLD_TO_CANCEL);
    assert_eq!(store.log(&lease, vec![]).await?, TOLD_TO_CANCEL);
    assert_eq!(state(&*store, id).await?, State::Running);
    assert_eq!(store.finish(&lease, cancelled().into()).await?, Finish::Accepted);
    check_cancelled(&*store, id).await
}

/// An ended job stays as it is.
pub async fn after_the_end(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    store.finish(&lease, success().into()).await?;
    let ended = job(&*store, id).await?;
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::AlreadyEnded);
    assert_eq!(job(&*store, id).await?, ended);

    let id = enqueued(&*store, new_job()).await?;
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::Removed);
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::AlreadyEnded);
    Ok(())
}

/// A job that its worker gives back after the cancel ends instead of waiting again.
pub async fn released_after_cancel(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    store.cancel(id, cancelled()).await?;
    assert!(store.release(&lease, Release::Drained).await?);
    check_cancelled(&*store, id).await
}

/// So does one whose worker vanished.
pub async fn expired_after_cancel(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    running(&*store, "w").await?;
    store.cancel(id, cancelled()).await?;
    place.clock().advance(LEASE_MS);
    let reclaimed = store.reclaim_expired(Limits::default(), failure(500, "set_aside")).await?;
    assert_eq!((reclaimed.cancelled, reclaimed.requeued, reclaimed.set_aside), (vec![id], vec![], vec![]));
    check_cancelled(&*store, id).await
}

/// A run that succeeded before it heard of the cancel has succeeded.
pub async fn too_late_for_the_run(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    assert_eq!(store.cancel(id, cancelled()).await?, Cancel::Requested);
    assert_eq!(store.finish(&lease, success().into()).await?, Finish::Accepted);
    let ended = job(&*store, id).await?;
    assert_eq!((ended.state, ended.outcome), (State::Done, Some(success())));
    Ok(())
}

/// There is nothing to cancel.
pub async fn unknown(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    assert_eq!(store.cancel(JobId::random(), cancelled()).await?, Cancel::Unknown);
    Ok(())
}

async fn check_cancelled(store: &dyn Store, id: JobId) -> Result<()> {
    let ended = job(store, id).await?;
    assert_eq!((ended.state, ended.outcome), (State::Cancelled, Some(cancelled())));
    assert!(ended.finished_ms.is_some());
    assert_eq!(claim(store, "w").await?, None);
    Ok(())
}
