//! Callers: submit and look.

use serde_json::json;

use super::*;
use crate::{Change, Count, Error, EventKind, JobFilter, JobSummary, Release};

/// What `enqueue` answered for is seen by a store opened afterwards, though nothing was closed.
pub async fn acknowledged_is_there(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let accepted = accepted(&*store, new_job()).await?;
    let other = place.open().await?;
    assert_eq!(other.job(accepted.id).await?, Some(accepted));
    Ok(())
}

/// Everything about a job comes back as it was given.
pub async fn input_comes_back(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let new = NewJob {
        id: JobId::random(),
        endpoint: "fal-ai/flux-pro/v1.1".to_owned(),
        input: json!({"z": 1, "a": "ünïcode \u{0} \" ' \\ 🎨", "seed": u64::MAX, "guidance_scale": 3.5, "loras": [], "n": null}),
        key_id: Some("key-1".to_owned()),
        priority: Priority::Low,
        start_by_ms: Some(place.clock().now_ms() + 5_000),
        webhook: Some("https://example.com/hook?a=ü&b='".to_owned()),
        hint: Some("session-7".to_owned()),
        keep_io: false,
        options: json!({"tags": {"team": "a"}}),
        given: Vec::new(),
    };
    let accepted = accepted(&*store, new.clone()).await?;
    let read = job(&*store, new.id).await?;
    assert_eq!(accepted, read);
    // The order of keys is part of what a caller sees.
    assert_eq!(read.input.to_string(), new.input.to_string());
    let Job { id, seq, endpoint, input, key_id, priority, start_by_ms, webhook, hint, keep_io, options, .. } =
        read.clone();
    assert_eq!(
        NewJob {
            id,
            endpoint,
            input,
            key_id,
            priority,
            start_by_ms,
            webhook,
            hint,
            keep_io,
            options,
            given: Vec::new()
        },
        new
    );
    assert!(seq > 0);
    assert_eq!((read.state, read.attempt, read.drained, read.crashes), (State::Queued, 0, 0, 0));
    assert_eq!((read.created_ms, read.started_ms, read.finished_ms), (place.clock().now_ms(), None, None));
    assert_eq!((read.not_before_ms, read.cancel_requested, read.outcome), (None, false, None));
    Ok(())
}

/// The second job of an id is refused and leaves the first alone.
pub async fn ids_are_used_once(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let first = accepted(&*store, new_job()).await?;
    let second = || NewJob { id: first.id, ..job_of("fal-ai/other") };
    let again = store.enqueue(second(), Admission::default()).await;
    assert!(matches!(again, Err(Error::JobExists(id)) if id == first.id), "{again:?}");
    let again = store.enqueue_ended(second(), Admission::default(), success()).await;
    assert!(matches!(again, Err(Error::JobExists(id)) if id == first.id), "{again:?}");
    assert_eq!(job(&*store, first.id).await?, first);
    Ok(())
}

/// A job nobody accepted is an answer, not an error.
pub async fn unknown_jobs(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = JobId::random();
    assert_eq!(store.job(id).await?, None);
    assert_eq!((store.summary(id).await?, store.outcome(id).await?), (None, None));
    assert_eq!(store.position(id).await?, None);
    assert_eq!(store.events(id, 0).await?, []);
    assert!(!store.end_unstarted(id, failure(504, "request_timeout")).await?);
    assert_eq!(claim(&*store, "w").await?, None);
    Ok(())
}

/// A summary says what the whole job says, and the outcome is there from the end on.
pub async fn summaries_and_outcomes(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, NewJob { priority: Priority::Low, ..job_by("key-1") }).await?;
    check_summary(&*store, id).await?;
    place.clock().advance(100);
    let lease = running(&*store, "w").await?;
    check_summary(&*store, id).await?;
    store.finish(&lease, success().into()).await?;
    check_summary(&*store, id).await?;

    let id = enqueued(&*store, new_job()).await?;
    store.finish(&running(&*store, "w").await?, failure(422, "validation_error").into()).await?;
    check_summary(&*store, id).await?;

    // one that is to be cancelled has not ended
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    store.cancel(id, cancelled()).await?;
    assert_eq!(store.outcome(id).await?, None);
    check_summary(&*store, id).await?;
    store.release(&lease, Release::Drained).await?;
    assert_eq!(store.outcome(id).await?, Some(cancelled()));
    check_summary(&*store, id).await
}

async fn check_summary(store: &dyn Store, id: JobId) -> Result<()> {
    let (Some(summary), job, outcome) = (store.summary(id).await?, job(store, id).await?, store.outcome(id).await?)
    else {
        panic!("no summary of {id}")
    };
    let told = outcome.as_ref();
    let expected = JobSummary {
        id,
        seq: job.seq,
        endpoint: job.endpoint,
        key_id: job.key_id,
        priority: job.priority,
        state: job.state,
        attempt: job.attempt,
        created_ms: job.created_ms,
        started_ms: job.started_ms,
        finished_ms: job.finished_ms,
        status: told.map(|outcome| outcome.status),
        error: told.and_then(|outcome| outcome.error.clone()),
        error_type: told.and_then(|outcome| outcome.error_type.clone()),
        inference_ms: told.and_then(|outcome| outcome.inference_ms),
    };
    assert_eq!((summary, outcome), (expected, job.outcome));
    Ok(())
}

/// A job that ends at once was never in the queue, and has its outcome from the first moment.
pub async fn ended_at_once(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut changes = store.changes();
    let outcome = failure(422, "validation_error");
    let Enqueued::New { job: ended, position } =
        store.enqueue_ended(new_job(), Admission::default(), outcome.clone()).await?
    else {
        panic!("it was not accepted")
    };
    assert_eq!((ended.state, ended.attempt, position), (State::Failed, 0, 0));
    assert_eq!(ended.finished_ms, Some(place.clock().now_ms()));
    assert_eq!(ended.outcome, Some(outcome));
    assert_eq!(job(&*store, ended.id).await?, ended);
    assert_eq!(store.position(ended.id).await?, None);
    assert_eq!(store.counts().await?, []);
    assert_eq!(claim(&*store, "w").await?, None);
    let events = store.events(ended.id, 0).await?;
    assert!(matches!(events.as_slice(), [event] if event.kind == entered(State::Failed)), "{events:?}");
    let heard: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
    assert_eq!(heard, [Change::Job(ended.id), Change::Ended(ended.id)]);
    Ok(())
}

/// Lists go from new to old, by endpoint, state, key and page.
pub async fn recent_jobs(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let a = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    store.finish(&lease, failure(422, "validation_error").into()).await?;
    let b = enqueued(&*store, job_of("fal-ai/other")).await?;
    let c = enqueued(&*store, job_by("key-1")).await?;

    let all = JobFilter { endpoint: None, state: None, key_id: None, before: None, limit: 10 };
    let ids = |page: &[JobSummary]| page.iter().map(|line| line.id).collect::<Vec<_>>();
    let lines = store.recent(&all).await?;
    assert_eq!(ids(&lines), [c, b, a]);
    let Some(ended) = lines.last() else { panic!("no lines") };
    assert_eq!((ended.state, ended.attempt, ended.status), (State::Failed, 1, Some(422)));
    assert_eq!(ended.error.as_deref(), Some("it failed: validation_error"));
    assert_eq!(ended.finished_ms, Some(place.clock().now_ms()));

    let flux = JobFilter { endpoint: Some(ENDPOINT.to_owned()), ..all.clone() };
    assert_eq!(ids(&store.recent(&flux).await?), [c, a]);
    let queued = JobFilter { state: Some(State::Queued), ..all.clone() };
    assert_eq!(ids(&store.recent(&queued).await?), [c, b]);
    let both = JobFilter { endpoint: Some(ENDPOINT.to_owned()), state: Some(State::Failed), ..all.clone() };
    assert_eq!(ids(&store.recent(&both).await?), [a]);

    let of_key = |key: &str| JobFilter { key_id: Some(key.to_owned()), ..all.clone() };
    assert_eq!(ids(&store.recent(&of_key("key-1")).await?), [c]);
    assert_eq!(ids(&store.recent(&of_key("key-2")).await?), []);

    let first_page = store.recent(&JobFilter { limit: 2, ..all.clone() }).await?;
    assert_eq!(ids(&first_page), [c, b]);
    let before = first_page.last().map(|line| line.seq);
    assert_eq!(ids(&store.recent(&JobFilter { before, limit: 2, ..all }).await?), [a]);
    Ok(())
}

/// The living are counted per endpoint and state, the ended are not.
pub async fn counts(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for _ in 0..4 {
        enqueued(&*store, job_of("a/a")).await?;
    }
    enqueued(&*store, job_of("b/b")).await?;
    let done = running(&*store, "w").await?;
    store.finish(&done, success().into()).await?;
    running(&*store, "w").await?;
    claimed(&*store, "w").await?;

    let count = |endpoint: &str, state, jobs| Count { endpoint: endpoint.to_owned(), state, jobs };
    let mut found = store.counts().await?;
    found.sort_by_key(|count| (count.endpoint.clone(), count.state.as_str()));
    let expected = [
        count("a/a", State::Leased, 1),
        count("a/a", State::Queued, 1),
        count("a/a", State::Running, 1),
        count("b/b", State::Queued, 1),
    ];
    assert_eq!(found, expected);
    Ok(())
}

fn entered(state: State) -> EventKind {
    EventKind::State { state, reason: None }
}
