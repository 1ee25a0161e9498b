//! Deliveries: webhooks are recorded with the end, claimed, attempted, tried again.

use super::*;
use crate::{
    Change, Delivery, DeliveryAttempt, DeliveryLease, DeliveryRecord, DeliveryState, Limits, NextDelivery, Release,
};

const URL: &str = "https://example.com/hook";

/// However a job ends, its delivery is there with its outcome, due at once, and announced.
pub async fn every_end_is_delivered(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut changes = store.changes();
    for end in [
        End::Finished,
        End::CancelledWaiting,
        End::CancelledRelease,
        End::CancelledExpired,
        End::Unstarted,
        End::SetAside,
        End::AtOnce,
    ] {
        let id = end.happen(place, &*store).await?;
        let now = place.clock().now_ms();
        let ended = job(&*store, id).await?;
        assert!(ended.state.is_end() && ended.outcome.is_some(), "{end:?}: {ended:?}");
        let records = store.deliveries(id).await?;
        let [record] = records.as_slice() else { panic!("{end:?}: {records:?}") };
        let expected = DeliveryRecord {
            id: record.id,
            url: URL.to_owned(),
            state: DeliveryState::Pending,
            next_ms: Some(now),
            log: vec![],
        };
        assert_eq!(*record, expected, "{end:?}");
        let heard: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
        assert!(heard.contains(&Change::Delivery), "{end:?}: {heard:?}");

        let delivery = due(&*store).await?;
        assert_eq!((delivery.job_id, delivery.url.as_str()), (id, URL), "{end:?}");
        assert_eq!((delivery.id, delivery.attempt, delivery.created_ms), (record.id, 1, now), "{end:?}");
        assert!(store.delivery_attempted(&delivery, attempt(now), NextDelivery::Delivered).await?);
    }
    Ok(())
}

/// A job that nobody wants to be told of is not delivered; one that has not ended is not yet.
pub async fn without_webhook_nothing(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut changes = store.changes();
    let id = enqueued(&*store, new_job()).await?;
    store.finish(&running(&*store, "w").await?, success().into()).await?;
    let alive = enqueued(&*store, hooked()).await?;
    let lease = running(&*store, "w").await?;
    store.release(&lease, Release::Drained).await?;
    for id in [id, alive, JobId::random()] {
        assert_eq!(store.deliveries(id).await?, []);
        assert!(!store.redeliver(id).await?);
    }
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?, []);
    assert_eq!(store.next_delivery_ms().await?, None);
    assert!(std::iter::from_fn(|| changes.try_recv().ok()).all(|change| change != Change::Delivery));
    Ok(())
}

/// A delivery that fails is tried again at the time that was said, with a log of its attempts.
pub async fn delivered_at_last(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = ended(&*store).await?;
    let begin = place.clock().now_ms();
    let first = due(&*store).await?;
    let refused = DeliveryAttempt { at_ms: begin, duration_ms: 7, status: Some(503), error: Some("busy".to_owned()) };
    assert!(store.delivery_attempted(&first, refused.clone(), NextDelivery::At(begin + 1_000)).await?);
    let pending = record(&*store, id).await?;
    assert_eq!((pending.state, pending.next_ms), (DeliveryState::Pending, Some(begin + 1_000)));
    place.clock().advance(999);
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?, []);

    place.clock().advance(1);
    let second = due(&*store).await?;
    assert_eq!((second.id, second.job_id, second.attempt), (first.id, id, 2));
    assert!(store.delivery_attempted(&second, attempt(begin + 1_000), NextDelivery::Delivered).await?);
    let done = record(&*store, id).await?;
    assert_eq!((done.state, done.next_ms), (DeliveryState::Delivered, None));
    assert_eq!(done.log, [refused, attempt(begin + 1_000)]);
    place.clock().advance(10 * LEASE_MS);
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?, []);
    Ok(())
}

/// A delivery that was given up stays on record and is not tried again.
pub async fn given_up(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = ended(&*store).await?;
    let delivery = due(&*store).await?;
    let gone = DeliveryAttempt { status: Some(410), error: Some("gone".to_owned()), ..attempt(1) };
    assert!(store.delivery_attempted(&delivery, gone.clone(), NextDelivery::GivenUp).await?);
    let failed = record(&*store, id).await?;
    assert_eq!((failed.state, failed.next_ms, failed.log), (DeliveryState::Failed, None, vec![gone]));
    place.clock().advance(10 * LEASE_MS);
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?, []);
    assert_eq!(store.next_delivery_ms().await?, None);
    Ok(())
}

/// However many ask at once through two stores, a delivery goes to one of them.
pub async fn claimed_by_one(place: &impl Place) -> Result<()> {
    let stores = [place.open().await?, place.open().await?];
    for _ in 0..20 {
        ended(&*stores[0]).await?;
    }
    let tasks: Vec<_> = (0..8)
        .map(|i: usize| {
            let store = stores[i % 2].clone();
            tokio::spawn(async move { store.claim_deliveries(5, DeliveryLease::of(LEASE_MS)).await })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        let Ok(deliveries) = task.await else { panic!("a claimant panicked") };
        let deliveries = deliveries?;
        assert!(deliveries.len() <= 5);
        claimed.extend(deliveries.into_iter().map(|delivery| delivery.id));
    }
    claimed.extend(
        stores[0].claim_deliveries(20, DeliveryLease::of(LEASE_MS)).await?.into_iter().map(|delivery| delivery.id),
    );
    assert_eq!(claimed.len(), 20);
    assert_eq!(claimed.iter().collect::<std::collections::HashSet<_>>().len(), 20);
    Ok(())
}

/// The first claim may be shorter than those that follow.
pub async fn the_first_claim_is_shorter(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    ended(&*store).await?;
    let lease = DeliveryLease { first_ms: 100, later_ms: 1_000 };
    for (attempt, lasts_ms) in [(1, 100), (2, 1_000), (3, 1_000)] {
        let claimed = store.claim_deliveries(10, lease).await?;
        assert!(matches!(claimed.as_slice(), [delivery] if delivery.attempt == attempt), "{claimed:?}");
        assert_eq!(lease.at(attempt), lasts_ms);
        place.clock().advance(lasts_ms - 1);
        assert_eq!(store.claim_deliveries(10, lease).await?, []);
        place.clock().advance(1);
    }
    Ok(())
}

/// A claim ends with its lease: the next claimant's word counts, the first one's does not.
pub async fn lost_claims(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = ended(&*store).await?;
    let lost = due(&*store).await?;
    place.clock().advance(LEASE_MS - 1);
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?, []);
    place.clock().advance(1);
    let held = due(&*store).await?;
    assert_eq!((held.id, held.attempt), (lost.id, lost.attempt + 1));

    assert!(!store.delivery_attempted(&lost, attempt(1), NextDelivery::GivenUp).await?);
    let pending = record(&*store, id).await?;
    assert_eq!((pending.state, pending.log), (DeliveryState::Pending, vec![]));
    assert!(store.delivery_attempted(&held, attempt(2), NextDelivery::Delivered).await?);
    assert!(!store.delivery_attempted(&lost, attempt(1), NextDelivery::At(5)).await?);
    let done = record(&*store, id).await?;
    assert_eq!((done.state, done.log), (DeliveryState::Delivered, vec![attempt(2)]));
    Ok(())
}

/// No more are given out than were asked for, those that are due for the longest time first.
pub async fn due_ones_first(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ended(&*store).await?);
        place.clock().advance(10);
    }
    let jobs = |deliveries: Vec<Delivery>| deliveries.into_iter().map(|delivery| delivery.job_id).collect::<Vec<_>>();
    let mut first = jobs(store.claim_deliveries(2, DeliveryLease::of(LEASE_MS)).await?);
    first.sort();
    let mut expected = ids[..2].to_vec();
    expected.sort();
    assert_eq!(first, expected);
    assert_eq!(jobs(store.claim_deliveries(2, DeliveryLease::of(LEASE_MS)).await?), ids[2..]);
    assert_eq!(store.claim_deliveries(2, DeliveryLease::of(LEASE_MS)).await?, []);
    Ok(())
}

/// A webhook can be delivered once more, whether it arrived before or not; the record of the first time stays.
pub async fn once_more(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = ended(&*store).await?;
    let first = due(&*store).await?;
    store.delivery_attempted(&first, attempt(1), NextDelivery::GivenUp).await?;
    place.clock().advance(1_000);
    let mut changes = store.changes();
    assert!(store.redeliver(id).await?);
    assert_eq!(changes.try_recv().ok(), Some(Change::Delivery));

    let again = due(&*store).await?;
    assert_eq!((again.job_id, again.url.as_str(), again.attempt), (id, URL, 1));
    assert_ne!(again.id, first.id);
    store.delivery_attempted(&again, attempt(2), NextDelivery::Delivered).await?;
    let records = store.deliveries(id).await?;
    let seen: Vec<_> = records.iter().map(|record| (record.id, record.state, record.log.len())).collect();
    assert_eq!(seen, [(first.id, DeliveryState::Failed, 1), (again.id, DeliveryState::Delivered, 1)]);
    Ok(())
}

/// Whoever sleeps until the next delivery knows how long, also when somebody has claimed it.
pub async fn the_next_one_is_known(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    assert_eq!(store.next_delivery_ms().await?, None);
    ended(&*store).await?;
    let now = place.clock().now_ms();
    assert_eq!(store.next_delivery_ms().await?, Some(now));
    let delivery = due(&*store).await?;
    assert_eq!(store.next_delivery_ms().await?, Some(now + LEASE_MS));
    store.delivery_attempted(&delivery, attempt(now), NextDelivery::At(now + 5)).await?;
    assert_eq!(store.next_delivery_ms().await?, Some(now + 5));
    Ok(())
}

/// The ways a job can end.
#[derive(Debug, Clone, Copy)]
enum End {
    Finished,
    CancelledWaiting,
    CancelledRelease,
    CancelledExpired,
    Unstarted,
    SetAside,
    AtOnce,
}

impl End {
    /// Lets a job with a webhook end in this way.
    async fn happen(self, place: &impl Place, store: &dyn Store) -> Result<JobId> {
        if let Self::AtOnce = self {
            let new = hooked();
            let id = new.id;
            store.enqueue_ended(new, Admission::default(), failure(422, "validation_error")).await?;
            return Ok(id);
        }
        let id = enqueued(store, hooked()).await?;
        match self {
            Self::Finished => {
                store.finish(&running(store, "w").await?, success().into()).await?;
            }
            Self::CancelledWaiting => {
                store.cancel(id, cancelled()).await?;
            }
            Self::Unstarted => {
                store.end_unstarted(id, failure(504, "request_timeout")).await?;
            }
            Self::CancelledRelease => {
                let lease = running(store, "w").await?;
                store.cancel(id, cancelled()).await?;
                store.release(&lease, Release::Drained).await?;
            }
            Self::CancelledExpired | Self::SetAside => {
                running(store, "w").await?;
                if let Self::CancelledExpired = self {
                    store.cancel(id, cancelled()).await?;
                }
                place.clock().advance(LEASE_MS);
                let limits = Limits { max_attempts: 1, max_crashes: 1 };
                store.reclaim_expired(limits, failure(500, "set_aside")).await?;
            }
            Self::AtOnce => unreachable!("it was never in the queue"),
        }
        Ok(id)
    }
}

fn hooked() -> NewJob {
    NewJob { webhook: Some(URL.to_owned()), ..new_job() }
}

/// A job with a webhook that has ended.
async fn ended(store: &dyn Store) -> Result<JobId> {
    let id = enqueued(store, hooked()).await?;
    store.cancel(id, cancelled()).await?;
    Ok(id)
}

/// Claims the one delivery that has to be due.
async fn due(store: &dyn Store) -> Result<Delivery> {
    let mut found = store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?;
    match (found.pop(), found.as_slice()) {
        (Some(delivery), []) => Ok(delivery),
        (last, others) => panic!("{last:?} and {others:?}"),
    }
}

/// The one delivery of a job.
async fn record(store: &dyn Store, id: JobId) -> Result<DeliveryRecord> {
    let mut found = store.deliveries(id).await?;
    match (found.pop(), found.as_slice()) {
        (Some(record), []) => Ok(record),
        (last, others) => panic!("{last:?} and {others:?}"),
    }
}

fn attempt(at_ms: i64) -> DeliveryAttempt {
    DeliveryAttempt { at_ms, duration_ms: 3, status: Some(200), error: None }
}
