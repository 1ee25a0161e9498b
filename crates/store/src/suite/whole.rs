//! The store as a whole: wake-ups, probes, closing.

use super::*;
use crate::{Change, Error, EventKind, Level, Limits, NewEvent, Release};

/// Each change is announced once it can be read.
pub async fn changes_are_announced(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut changes = store.changes();
    let mut heard = move || std::iter::from_fn(|| changes.try_recv().ok()).collect::<Vec<_>>();
    let queued = Change::Queued { endpoint: ENDPOINT.to_owned() };

    let id = enqueued(&*store, new_job()).await?;
    assert_eq!(heard(), [queued.clone(), Change::Job(id)]);
    assert_eq!(claim(&*store, "w").await?.map(|lease| lease.job.id), Some(id));
    assert_eq!(heard(), [Change::Job(id)]);
    place.clock().advance(LEASE_MS);
    store.reclaim_expired(Limits::default(), failure(500, "set_aside")).await?;
    assert_eq!(heard(), [queued.clone(), Change::Job(id)]);

    let lease = running(&*store, "w").await?;
    assert_eq!(heard(), [Change::Job(id), Change::Job(id)]);
    let line = EventKind::Log { level: Level::Info, message: "hello".to_owned() };
    store.log(&lease, vec![NewEvent { at_ms: 1, kind: line }]).await?;
    assert_eq!(heard(), [Change::Job(id)]);
    store.release(&lease, Release::Drained).await?;
    assert_eq!(heard(), [queued, Change::Job(id)]);
    let lease = running(&*store, "w").await?;
    assert_eq!(heard(), [Change::Job(id), Change::Job(id)]);
    store.cancel(id, cancelled()).await?;
    assert_eq!(heard(), [Change::Job(id), Change::Cancelling(id)]);
    store.release(&lease, Release::Drained).await?;
    assert_eq!(heard(), [Change::Job(id), Change::Ended(id)]);

    // What changes nothing, or fails, is not announced.
    store.cancel(id, cancelled()).await?;
    assert!(store.enqueue(NewJob { id, ..new_job() }, Admission::default()).await.is_err());
    assert_eq!(store.heartbeat(&lease, LEASE_MS).await?, Beat::Lost);
    assert_eq!(heard(), []);
    Ok(())
}

/// A store that works says so.
pub async fn answers_pings(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    store.ping().await?;
    // the second proof may be the first one's
    store.prove().await?;
    store.prove().await?;
    assert!(store.stuck().is_none());
    Ok(())
}

/// A closed store refuses; another one on the same database goes on.
pub async fn closed_is_closed(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    store.close().await;
    store.close().await;
    assert!(matches!(store.enqueue(new_job(), Admission::default()).await, Err(Error::Closed)));
    assert!(matches!(store.job(id).await, Err(Error::Closed)));
    assert!(matches!(store.ping().await, Err(Error::Closed)));
    assert!(matches!(store.prove().await, Err(Error::Closed)));
    assert_eq!(state(&*place.open().await?, id).await?, State::Queued);
    Ok(())
}
