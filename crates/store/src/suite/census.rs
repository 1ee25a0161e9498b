//! How the database stands, in numbers.

use super::*;
use crate::{Census, Count, DeliveryLease, Oldest};

async fn oldest(store: &dyn Store) -> Result<Vec<Oldest>> {
    let mut oldest = store.census().await?.oldest;
    oldest.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    Ok(oldest)
}

fn first(endpoint: &str, created_ms: i64) -> Oldest {
    Oldest { endpoint: endpoint.to_owned(), created_ms }
}

/// Jobs by endpoint and state, and what the database takes.
pub async fn the_living_are_counted(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let nothing = store.census().await?;
    assert!(nothing.database_bytes > 0, "it is somewhere");
    assert_eq!(Census { database_bytes: 0, ..nothing }, Census::default());
    for job in [new_job(), low_job(), job_of("a/b"), new_job()] {
        enqueued(&*store, job).await?;
    }
    claimed(&*store, "w/0").await?;
    let lease = running(&*store, "w/1").await?;
    let mut jobs = store.census().await?.jobs;
    jobs.sort_by_key(|count| (count.endpoint.clone(), count.state.as_str()));
    let count = |endpoint: &str, state, jobs| Count { endpoint: endpoint.to_owned(), state, jobs };
    assert_eq!(jobs.iter().map(|count| count.jobs).sum::<u64>(), 4, "{jobs:?}");
    assert!(jobs.contains(&count(&lease.job.endpoint, State::Running, 1)), "{jobs:?}");
    store.finish(&lease, success().into()).await?;
    let jobs = store.census().await?.jobs;
    assert_eq!(jobs.iter().map(|count| count.jobs).sum::<u64>(), 3, "the ended are not among them: {jobs:?}");
    Ok(())
}

/// The first of each endpoint, whoever's it is and whatever its priority; not those that rest.
pub async fn the_first_in_line(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let began = place.clock().now_ms();
    assert_eq!(oldest(&*store).await?, []);
    enqueued(&*store, job_of("a/b")).await?;
    place.clock().advance(1_000);
    enqueued(&*store, low_job()).await?;
    place.clock().advance(1_000);
    enqueued(&*store, job_by("k")).await?;
    enqueued(&*store, new_job()).await?;
    assert_eq!(oldest(&*store).await?, [first("a/b", began), first(ENDPOINT, began + 1_000)]);
    let lease = claimed(&*store, "w/0").await?;
    let mut left = oldest(&*store).await?;
    left.retain(|first| first.endpoint == lease.job.endpoint);
    let why = crate::Release::Failed { reason: "busy".to_owned(), rest_ms: 60_000 };
    assert!(store.release(&lease, why).await?);
    let mut resting = oldest(&*store).await?;
    resting.retain(|first| first.endpoint == lease.job.endpoint);
    assert_eq!(left, resting, "who rests is not in line");
    Ok(())
}

/// Webhooks on their way, and when the first is due.
pub async fn webhooks_are_counted(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let job = NewJob { webhook: Some("https://hook.test/".to_owned()), ..new_job() };
    enqueued(&*store, job).await?;
    let lease = running(&*store, "w/0").await?;
    store.finish(&lease, success().into()).await?;
    let census = store.census().await?;
    assert_eq!(census.deliveries, 1);
    assert!(census.delivery_due_ms.is_some_and(|due| due <= place.clock().now_ms()), "{census:?}");
    let [delivery] = store.claim_deliveries(5, DeliveryLease::of(1_000)).await?.try_into().expect("one");
    let attempt = crate::DeliveryAttempt { at_ms: 0, duration_ms: 1, status: Some(200), error: None };
    store.delivery_attempted(&delivery, attempt, crate::NextDelivery::Delivered).await?;
    let census = store.census().await?;
    assert_eq!((census.deliveries, census.delivery_due_ms), (0, None));
    Ok(())
}

/// Files, a few at a time.
pub async fn files_are_counted_in_parts(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for (path, bytes) in [("b/2", 20), ("b/1", 10), ("b/3", 30)] {
        store.put_file(FileRecord { bytes, ..file(path) }).await?;
    }
    let part = store.count_files(None, 2).await?;
    assert_eq!((part.files, part.bytes, part.last.as_deref()), (2, 30, Some("b/2")));
    let part = store.count_files(part.last, 2).await?;
    assert_eq!((part.files, part.bytes, part.last.as_deref()), (1, 30, Some("b/3")));
    let part = store.count_files(part.last, 2).await?;
    assert_eq!((part.files, part.bytes, part.last), (0, 0, None));
    Ok(())
}
