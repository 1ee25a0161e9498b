//! Retention: what is deleted when, and what goes with it.

use super::*;
use crate::{DeliveryAttempt, DeliveryLease, JobFilter, NextDelivery, Once, Retention};

const KEPT_MS: i64 = 1_000;
const UNKEPT_MS: i64 = 10;
const RETENTION: Retention = Retention { kept_ms: Some(KEPT_MS), unkept_ms: UNKEPT_MS };

/// An ended job is kept for as long as its caller wants, counted from its end.
pub async fn kept_long_enough(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let kept = enqueued(&*store, new_job()).await?;
    let unkept = enqueued(&*store, NewJob { keep_io: false, ..new_job() }).await?;
    place.clock().advance(10 * KEPT_MS);
    for id in [kept, unkept] {
        store.cancel(id, cancelled()).await?;
    }
    place.clock().advance(UNKEPT_MS - 1);
    assert_eq!(store.purge(RETENTION, 10).await?, 0);
    place.clock().advance(1);
    assert_eq!(store.purge(RETENTION, 10).await?, 1);
    assert_eq!((store.job(unkept).await?, store.job(kept).await?.map(|job| job.id)), (None, Some(kept)));

    place.clock().advance(KEPT_MS - UNKEPT_MS - 1);
    assert_eq!(store.purge(RETENTION, 10).await?, 0);
    place.clock().advance(1);
    assert_eq!(store.purge(Retention { kept_ms: None, ..RETENTION }, 10).await?, 0);
    assert_eq!(store.purge(RETENTION, 10).await?, 1);
    assert_eq!(store.job(kept).await?, None);
    Ok(())
}

/// A job stays for as long as its webhook is on its way, whether that arrives or is given up.
pub async fn not_before_the_webhook(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for last in [NextDelivery::Delivered, NextDelivery::GivenUp] {
        let hooked = NewJob { webhook: Some("https://example.com/hook".to_owned()), keep_io: false, ..new_job() };
        let id = enqueued(&*store, hooked).await?;
        store.cancel(id, cancelled()).await?;
        for next in [NextDelivery::At(place.clock().now_ms() + 10 * KEPT_MS), last] {
            place.clock().advance(10 * KEPT_MS);
            assert_eq!(store.purge(RETENTION, 10).await?, 0);
            let deliveries = store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?;
            let [delivery] = deliveries.as_slice() else { panic!("{deliveries:?}") };
            assert_eq!(store.purge(RETENTION, 10).await?, 0);
            assert!(store.delivery_attempted(delivery, attempt(), next).await?);
        }
        assert_eq!(store.purge(RETENTION, 10).await?, 1);
        assert_eq!(store.job(id).await?, None);
        assert_eq!(store.deliveries(id).await?, []);
    }
    Ok(())
}

/// Only ended jobs are deleted, however old the others are.
pub async fn the_living_stay(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let unkept = || NewJob { keep_io: false, ..new_job() };
    for _ in 0..3 {
        enqueued(&*store, unkept()).await?;
    }
    running(&*store, "w").await?;
    claimed(&*store, "w").await?;
    place.clock().advance(100 * KEPT_MS);
    assert_eq!(store.purge(RETENTION, 10).await?, 0);
    let all = JobFilter { endpoint: None, state: None, key_id: None, before: None, limit: 10 };
    for line in store.recent(&all).await? {
        assert_eq!(store.delete_job(line.id).await?, None);
    }
    assert_eq!(store.recent(&all).await?.len(), 3);
    Ok(())
}

/// Not more are deleted at once than was asked for.
pub async fn a_few_at_a_time(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for i in 0..5 {
        let id = enqueued(&*store, NewJob { keep_io: i % 2 == 0, ..new_job() }).await?;
        store.cancel(id, cancelled()).await?;
    }
    place.clock().advance(KEPT_MS);
    assert_eq!(store.purge(RETENTION, 0).await?, 0);
    assert_eq!(store.purge(RETENTION, 3).await?, 3);
    assert_eq!(store.purge(RETENTION, 3).await?, 2);
    assert_eq!(store.purge(RETENTION, 3).await?, 0);
    Ok(())
}

/// With a job goes everything but its files' rows.
pub async fn everything_goes_but_files(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let new = NewJob { hint: Some("h".to_owned()), ..new_job() };
    let id = enqueued(&*store, new.clone()).await?;
    store.finish(&running(&*store, "w").await?, with_files(success(), vec![file("b/made")])).await?;
    place.clock().advance(KEPT_MS);
    assert_eq!(store.purge(RETENTION, 10).await?, 1);
    assert_eq!(store.job(id).await?, None);
    assert_eq!(store.events(id, 0).await?, []);
    assert!(store.file("b/made").await?.is_some());
    assert_eq!(store.expired_files(10).await?.len(), 1);
    // Nothing is left in the way of another job of this id.
    assert_eq!(accepted(&*store, new).await?.id, id);
    Ok(())
}

/// A picture ends with the result that was kept for its time; who did not want the result kept has the picture's URL for
/// as long as others have theirs. What a caller has said about a picture stands.
pub async fn pictures_end_with_their_jobs(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let now_ms = place.clock().now_ms();
    let until = |path: &str, expires_ms| FileRecord { expires_ms, ..file(path) };
    let made = [("b/kept", true, None), ("b/said", true, Some(now_ms + 100 * KEPT_MS)), ("b/unkept", false, None)];
    for (path, keep_io, expires_ms) in made {
        enqueued(&*store, NewJob { keep_io, ..new_job() }).await?;
        store.finish(&running(&*store, "w").await?, with_files(success(), vec![until(path, expires_ms)])).await?;
    }
    let end = async |path: &str| Ok::<_, crate::Error>(store.file(path).await?.and_then(|file| file.expires_ms));
    place.clock().advance(UNKEPT_MS);
    assert!(!store.has_older().await?, "nothing here is of an older version");
    assert_eq!(store.purge_younger(RETENTION, 10).await?, 1);
    assert_eq!(end("b/unkept").await?, Some(now_ms + UNKEPT_MS + KEPT_MS));
    assert_eq!((end("b/kept").await?, store.expired_files(10).await?), (None, vec![]));
    place.clock().advance(KEPT_MS - UNKEPT_MS);
    assert_eq!(store.purge_younger(RETENTION, 10).await?, 2);
    let gone: Vec<_> = store.expired_files(10).await?.into_iter().map(|file| file.path).collect();
    assert_eq!(gone, ["b/kept"]);
    assert_eq!(end("b/said").await?, Some(now_ms + 100 * KEPT_MS));
    Ok(())
}

/// The files that an input refers to go with the last job that has them.
pub async fn given_files_go_with_their_jobs(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let given = |path: &str| FileRecord { expires_ms: None, owner: Some("a".to_owned()), ..file(path) };
    let new = NewJob { given: vec![given("b/one"), given("b/two")], ..job_by("a") };
    let first = enqueued(&*store, new).await?;
    let known = store.given_files(first).await?;
    assert_eq!(known, [given("b/one"), given("b/two")]);
    assert_eq!(store.file("b/one").await?, Some(given("b/one")));
    let copy = enqueued(&*store, NewJob { given: vec![given("b/one")], ..job_by("a") }).await?;
    assert_eq!(store.given_files(copy).await?, [given("b/one")]);
    for id in [first, copy] {
        store.cancel(id, cancelled()).await?;
    }

    let alone = store.delete_job(first).await?.map(|files| files.into_iter().map(|file| file.path).collect::<Vec<_>>());
    assert_eq!(alone, Some(vec!["b/two".to_owned()]), "the copy has the other one");
    assert_eq!(store.file("b/one").await?.map(|file| file.expires_ms), Some(None));
    assert_eq!(store.expired_files(10).await?.into_iter().map(|file| file.path).collect::<Vec<_>>(), ["b/two"]);
    assert!(store.forget_file("b/two").await?);
    place.clock().advance(KEPT_MS);
    assert_eq!(store.purge(RETENTION, 10).await?, 1);
    assert_eq!(store.expired_files(10).await?.into_iter().map(|file| file.path).collect::<Vec<_>>(), ["b/one"]);
    assert_eq!(store.given_files(copy).await?, []);
    Ok(())
}

/// An ended job can be deleted at any time; the rows of its files are given out and stay until they are forgotten.
pub async fn deleted_by_hand(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let hooked = NewJob { webhook: Some("https://example.com/hook".to_owned()), ..new_job() };
    let id = enqueued(&*store, hooked).await?;
    store.finish(&running(&*store, "w").await?, with_files(success(), vec![file("b/one"), file("b/two")])).await?;
    let deliveries = store.claim_deliveries(10, DeliveryLease::of(LEASE_MS)).await?;
    let other = enqueued(&*store, new_job()).await?;
    store.finish(&running(&*store, "w").await?, with_files(success(), vec![file("b/other")])).await?;

    let Some(files) = store.delete_job(id).await? else { panic!("it was not deleted") };
    let mut paths: Vec<_> = files.into_iter().map(|file| file.path).collect();
    paths.sort();
    assert_eq!(paths, ["b/one", "b/two"]);
    assert_eq!((store.job(id).await?, store.events(id, 0).await?, store.deliveries(id).await?), (None, vec![], vec![]));
    assert_eq!(store.next_delivery_ms().await?, None);
    // Whoever was about to deliver hears that there is nothing to deliver any more.
    assert!(!store.delivery_attempted(&deliveries[0], attempt(), NextDelivery::Delivered).await?);
    for path in paths {
        assert!(store.forget_file(&path).await?);
    }

    assert_eq!(store.delete_job(id).await?, None);
    assert!(store.job(other).await?.is_some());
    assert!(store.file("b/other").await?.is_some());
    Ok(())
}

/// A word goes with its job.
pub async fn words_are_free_again(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let said = |digest| Admission {
        once: Some(Once { word: "word".to_owned(), digest: [digest; 32] }),
        ..Admission::default()
    };
    let Enqueued::New { job, .. } = store.enqueue(new_job(), said(1)).await? else { panic!("it was not accepted") };
    store.cancel(job.id, cancelled()).await?;
    assert_eq!(store.enqueue(new_job(), said(2)).await?, Enqueued::WordReused);
    assert_eq!(store.delete_job(job.id).await?, Some(vec![]));
    assert!(matches!(store.enqueue(new_job(), said(2)).await?, Enqueued::New { .. }));
    Ok(())
}

fn attempt() -> DeliveryAttempt {
    DeliveryAttempt { at_ms: 1, duration_ms: 3, status: Some(200), error: None }
}
