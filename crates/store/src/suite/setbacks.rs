//! Clocks that jump. What waits for a point in time waits as long as it was meant to, or about that.

use super::leases::{reclaim, rested};
use super::*;
use crate::{DeliveryAttempt, DeliveryLease, Finish, NextDelivery};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// What stands in the database when the clock jumps.
struct Scene {
    /// Leased by a worker that is heard of no more.
    orphan: JobId,
    /// Leased by a worker that lives.
    alive: Lease,
    /// Failed once, rests for five seconds.
    resting: JobId,
    /// Ended; its webhook is to be delivered again in two minutes.
    ended: JobId,
}

impl Scene {
    async fn new(place: &impl Place, store: &dyn Store) -> Result<Self> {
        let ended = enqueued(store, NewJob { webhook: Some("https://example.com/".into()), ..new_job() }).await?;
        store.finish(&running(store, "w").await?, success().into()).await?;
        let delivery = store.claim_deliveries(1, DeliveryLease::of(LEASE_MS)).await?.remove(0);
        let now_ms = place.clock().now_ms();
        let refused = DeliveryAttempt { at_ms: now_ms, duration_ms: 1, status: Some(500), error: None };
        assert!(store.delivery_attempted(&delivery, refused, NextDelivery::At(now_ms + 120_000)).await?);
        let resting = rested(store).await?;
        let orphan = enqueued(store, new_job()).await?;
        running(store, "dead").await?;
        enqueued(store, new_job()).await?;
        let alive = running(store, "alive").await?;
        Ok(Self { orphan, alive, resting, ended })
    }

    /// Everything goes on: the orphan is taken back, the rested is claimed, the webhook is due, and the living has
    /// lost nothing.
    async fn goes_on(&self, store: &dyn Store) -> Result<()> {
        assert_eq!(store.heartbeat(&self.alive, LEASE_MS).await?, ALIVE);
        assert_eq!(reclaim(store).await?.requeued, [self.orphan]);
        let claims = [claimed(store, "w").await?.job.id, claimed(store, "w").await?.job.id];
        assert_eq!(claims, [self.resting, self.orphan]);
        let due: Vec<_> =
            store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?.iter().map(|due| due.job_id).collect();
        assert_eq!(due, [self.ended]);
        assert_eq!(store.finish(&self.alive, success().into()).await?, Finish::Accepted);
        Ok(())
    }
}

/// Everything waits for as long as it was meant to, not for an hour more.
pub async fn by_an_hour(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    reclaim(&*store).await?;
    let scene = Scene::new(place, &*store).await?;
    reclaim(&*store).await?;
    place.clock().advance(-HOUR_MS);
    for _ in 0..2 {
        assert_eq!(reclaim(&*store).await?.requeued, [], "nobody is taken to be lost");
    }
    assert_eq!(claim(&*store, "w").await?, None, "a rest is a rest");
    place.clock().advance(LEASE_MS - 1);
    assert_eq!(store.heartbeat(&scene.alive, LEASE_MS).await?, ALIVE);
    assert_eq!(reclaim(&*store).await?.requeued, []);
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?, []);
    place.clock().advance(120_000 - LEASE_MS + 1);
    scene.goes_on(&*store).await
}

/// A machine began with a clock that was years ahead. Whoever looks first after it was set right cannot know by how
/// much, but nothing waits for years.
pub async fn by_years(place: &impl Place) -> Result<()> {
    let years_ms = 10 * 365 * 24 * HOUR_MS;
    place.clock().advance(years_ms);
    let scene = Scene::new(place, &*place.open().await?).await?;
    place.clock().advance(-years_ms);
    let store = place.open().await?;
    assert_eq!(reclaim(&*store).await?.requeued, []);
    place.clock().advance(2 * HOUR_MS);
    scene.goes_on(&*store).await
}

/// Leases are over at once. Whoever lives and is heard of first has lost nothing.
pub async fn forwards_by_a_day(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let scene = Scene::new(place, &*store).await?;
    reclaim(&*store).await?;
    place.clock().advance(24 * HOUR_MS);
    scene.goes_on(&*store).await
}
