//! What pages show: histories, latest jobs, workers.

use serde_json::json;

use super::*;
use crate::{AtWork, HistoryFilter, WorkerRecord};

async fn ended(store: &dyn Store, new: NewJob, outcome: Outcome) -> Result<JobId> {
    let id = enqueued(store, new).await?;
    let lease = running(store, "w/0").await?;
    store.finish(&lease, outcome.into()).await?;
    Ok(id)
}

async fn ids(store: &dyn Store, filter: HistoryFilter) -> Result<Vec<JobId>> {
    Ok(store.history(&filter).await?.iter().map(|job| job.id).collect())
}

/// Newest first, each job once, with what went in and what came out.
pub async fn history_page_by_page(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let done = ended(&*store, new_job(), success()).await?;
    let other = ended(&*store, job_of("a/b"), failure(500, "runner_server_error")).await?;
    let waiting = enqueued(&*store, new_job()).await?;
    let all = HistoryFilter { limit: 10, ..HistoryFilter::default() };
    assert_eq!(ids(&*store, all.clone()).await?, [waiting, other, done]);
    let first = store.history(&HistoryFilter { limit: 2, ..all.clone() }).await?;
    let before = first.last().map(|job| job.seq);
    assert_eq!(ids(&*store, HistoryFilter { before, ..all.clone() }).await?, [done]);
    let of = HistoryFilter { endpoint: Some(ENDPOINT.to_owned()), ..all.clone() };
    assert_eq!(ids(&*store, of).await?, [waiting, done]);
    let over = HistoryFilter { states: vec![State::Done, State::Failed], ..all };
    let over = store.history(&over).await?;
    let [failed, succeeded] = over.as_slice() else { panic!("{over:?}") };
    assert_eq!((failed.id, succeeded.id), (other, done));
    assert_eq!(Some(succeeded), store.job(done).await?.as_ref());
    assert_eq!(failed.outcome.as_ref().map(|outcome| outcome.status), Some(500));
    Ok(())
}

/// A key sees its own jobs and those of the time before there were keys.
pub async fn histories_are_of_a_key(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let nobodys = enqueued(&*store, new_job()).await?;
    let anns = enqueued(&*store, job_by("ann")).await?;
    let bobs = enqueued(&*store, job_by("bob")).await?;
    let of = |key: Option<&str>| HistoryFilter { key_id: key.map(str::to_owned), limit: 10, ..Default::default() };
    assert_eq!(ids(&*store, of(Some("ann"))).await?, [anns, nobodys]);
    assert_eq!(ids(&*store, of(Some("bob"))).await?, [bobs, nobodys]);
    assert_eq!(ids(&*store, of(None)).await?, [bobs, anns, nobodys]);
    Ok(())
}

/// One successful job of each endpoint that has one.
pub async fn the_latest_of_each(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    ended(&*store, new_job(), success()).await?;
    let newest = ended(&*store, job_by("ann"), success()).await?;
    let bobs = ended(&*store, job_by("bob"), success()).await?;
    ended(&*store, job_by("ann"), failure(500, "runner_server_error")).await?;
    let other = ended(&*store, job_of("a/b"), success()).await?;
    ended(&*store, job_of("a/c"), failure(500, "runner_server_error")).await?;
    let endpoints = [ENDPOINT, "a/b", "a/c", "a/d"];
    let latest = async |key| -> Result<Vec<JobId>> {
        let mut found = store.latest(&endpoints, key).await?;
        found.sort_by_key(|job| job.seq);
        Ok(found.iter().map(|job| job.id).collect())
    };
    assert_eq!(latest(None).await?, [bobs, other]);
    assert_eq!(latest(Some("ann")).await?, [newest, other]);
    let found = store.latest(&["a/b"], None).await?;
    assert_eq!(found.first().and_then(|job| job.outcome.clone()), Some(success()));
    Ok(())
}

/// The jobs that are leased or running, and nobody else's.
pub async fn who_has_what(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    ended(&*store, new_job(), success()).await?;
    let (first, second) = (enqueued(&*store, new_job()).await?, enqueued(&*store, new_job()).await?);
    enqueued(&*store, new_job()).await?;
    claimed(&*store, "one/0").await?;
    running(&*store, "two/1").await?;
    let work = |job, worker: &str| AtWork { job, worker: worker.to_owned() };
    assert_eq!(store.at_work().await?, [work(first, "one/0"), work(second, "two/1")]);
    Ok(())
}

/// They are known as long as they speak up, until they leave or have been silent for a day.
pub async fn workers_come_and_go(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let begin = place.clock().now_ms();
    store.announce_worker("one", json!({ "device": "cpu" })).await?;
    store.announce_worker("two", json!({ "device": "cuda:0" })).await?;
    place.clock().advance(1_000);
    store.announce_worker("one", json!({ "device": "cpu", "slots": 2 })).await?;
    let one = WorkerRecord {
        name: "one".to_owned(),
        about: json!({ "device": "cpu", "slots": 2 }),
        since_ms: begin,
        seen_ms: begin + 1_000,
    };
    assert_eq!(place.open().await?.workers(begin + 1).await?, [one]);
    assert_eq!(store.workers(begin).await?.len(), 2);
    assert!(store.retire_worker("one").await?);
    assert!(!store.retire_worker("one").await?);
    let names = async || -> Result<Vec<String>> { Ok(store.workers(0).await?.into_iter().map(|w| w.name).collect()) };
    assert_eq!(names().await?, ["two"]);
    place.clock().advance(24 * 60 * 60 * 1_000);
    store.announce_worker("three", json!({})).await?;
    assert_eq!(names().await?, ["three"]);
    Ok(())
}
