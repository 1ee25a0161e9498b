//! The queue: order, places, deadlines, many at once.

use std::collections::HashSet;

use super::*;

/// Equals go first in, first out, over all endpoints.
pub async fn first_in_first_out(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut expected = Vec::new();
    for endpoint in ["a/a", "b/b", "a/a", "c/c"] {
        expected.push(enqueued(&*store, job_of(endpoint)).await?);
    }
    assert_eq!(claim_all(&*store).await?, expected);
    Ok(())
}

/// A low job waits behind every normal one, those that come later included.
pub async fn low_waits_behind_normal(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let low_1 = enqueued(&*store, low_job()).await?;
    let normal_1 = enqueued(&*store, new_job()).await?;
    let low_2 = enqueued(&*store, low_job()).await?;
    let normal_2 = enqueued(&*store, new_job()).await?;
    assert_eq!(claim_all(&*store).await?, [normal_1, normal_2, low_1, low_2]);
    Ok(())
}

/// A worker gets the jobs of its endpoints and no others.
pub async fn only_what_the_worker_can_run(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    enqueued(&*store, job_of("a/a")).await?;
    let b = enqueued(&*store, job_of("b/b")).await?;
    let c = enqueued(&*store, job_of("c/c")).await?;

    let nothing = Claimable::Only(vec![]);
    assert_eq!(store.claim(&claim_of("w", nothing)).await?, None);
    let some = Claimable::Only(vec!["c/c".to_owned(), "b/b".to_owned(), "b'b".to_owned()]);
    let first = store.claim(&claim_of("w", some.clone())).await?;
    assert_eq!(first.map(|lease| lease.job.id), Some(b));
    let second = store.claim(&claim_of("w", some.clone())).await?;
    assert_eq!(second.map(|lease| lease.job.id), Some(c));
    assert_eq!(store.claim(&claim_of("w", some.clone())).await?, None);
    Ok(())
}

/// A position counts those of the same endpoint that go first.
pub async fn positions(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let low = enqueued(&*store, low_job()).await?;
    enqueued(&*store, job_of("fal-ai/other")).await?;
    let first = enqueued(&*store, new_job()).await?;
    let second = enqueued(&*store, new_job()).await?;
    assert_eq!(store.position(first).await?, Some(0));
    assert_eq!(store.position(second).await?, Some(1));
    assert_eq!(store.position(low).await?, Some(2));

    let only = Claimable::Only(vec![ENDPOINT.to_owned()]);
    store.claim(&claim_of("w", only)).await?;
    assert_eq!(store.position(first).await?, None);
    assert_eq!(store.position(second).await?, Some(0));
    assert_eq!(store.position(low).await?, Some(1));
    Ok(())
}

/// A job whose start deadline has passed is not claimed but listed.
pub async fn overdue_jobs(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let start_by_ms = Some(place.clock().now_ms() + 1_000);
    let late = enqueued(&*store, NewJob { start_by_ms, ..new_job() }).await?;
    let patient = enqueued(&*store, new_job()).await?;
    assert_eq!(store.overdue().await?, []);

    place.clock().advance(1_000);
    assert_eq!(store.overdue().await?, [late]);
    assert_eq!(claim_all(&*store).await?, [patient]);
    assert!(store.end_unstarted(late, failure(504, "request_timeout")).await?);
    assert_eq!(store.overdue().await?, []);
    let ended = job(&*store, late).await?;
    assert_eq!((ended.state, ended.attempt, ended.finished_ms), (State::Failed, 0, Some(place.clock().now_ms())));
    assert_eq!(ended.outcome, Some(failure(504, "request_timeout")));
    Ok(())
}

/// Only a job that is in the queue can be ended unstarted.
pub async fn unstarted_jobs_end(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = claimed(&*store, "w").await?;
    assert!(!store.end_unstarted(id, failure(504, "request_timeout")).await?);
    assert_eq!(state(&*store, id).await?, State::Leased);
    store.finish(&lease, success().into()).await?;
    assert!(!store.end_unstarted(id, failure(504, "request_timeout")).await?);
    assert_eq!(job(&*store, id).await?.outcome, Some(success()));
    Ok(())
}

/// Jobs accepted at the same time through two stores are all there, once.
pub async fn many_at_once(place: &impl Place) -> Result<()> {
    let stores = [place.open().await?, place.open().await?];
    let new: Vec<NewJob> = (0..200).map(|_| new_job()).collect();
    let ids: HashSet<JobId> = new.iter().map(|job| job.id).collect();
    let tasks: Vec<_> = (0..)
        .zip(new)
        .map(|(i, job): (usize, _)| {
            let store = stores[i % 2].clone();
            tokio::spawn(async move { store.enqueue(job, Admission::default()).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await, Ok(Ok(Enqueued::New { .. }))));
    }
    let claimed = claim_all(&*stores[0]).await?;
    assert_eq!(claimed.len(), ids.len());
    assert_eq!(HashSet::from_iter(claimed), ids);
    Ok(())
}

/// However many claim at once through however many stores, each job goes to one of them.
pub async fn claimants_never_share(place: &impl Place) -> Result<()> {
    let stores = [place.open().await?, place.open().await?];
    for _ in 0..40 {
        enqueued(&*stores[0], new_job()).await?;
    }
    let tasks: Vec<_> = (0..8)
        .map(|i: usize| {
            let store = stores[i % 2].clone();
            tokio::spawn(async move { claim_all(&*store).await })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        let Ok(ids) = task.await else { panic!("a claimant panicked") };
        claimed.extend(ids?);
    }
    assert_eq!(claimed.len(), 40);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 40);
    Ok(())
}

/// Claims until nothing is left; the ids in the order they came.
async fn claim_all(store: &dyn Store) -> Result<Vec<JobId>> {
    let mut ids = Vec::new();
    while let Some(lease) = claim(store, "w").await? {
        ids.push(lease.job.id);
    }
    Ok(ids)
}
