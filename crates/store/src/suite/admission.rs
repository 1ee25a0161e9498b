//! Admission: who may come in, and who has come in before.

use super::*;
use crate::Once;

/// No more than so many wait for an endpoint; those at work and those of other endpoints do not count.
pub async fn not_while_too_many_wait(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let short_queue = || Admission { max_waiting: Some(1), ..Admission::default() };
    let refused = new_job();
    for position in 0..2 {
        let queued = store.enqueue(new_job(), short_queue()).await?;
        assert!(matches!(queued, Enqueued::New { position: found, .. } if found == position), "{queued:?}");
    }
    assert_eq!(store.enqueue(refused.clone(), short_queue()).await?, Enqueued::TooManyWaiting(2));
    assert_eq!(store.job(refused.id).await?, None);
    // Low or not, they wait.
    assert_eq!(store.enqueue(low_job(), short_queue()).await?, Enqueued::TooManyWaiting(2));
    assert!(matches!(store.enqueue(job_of("a/a"), short_queue()).await?, Enqueued::New { position: 0, .. }));

    claimed(&*store, "w").await?;
    assert!(matches!(store.enqueue(refused, short_queue()).await?, Enqueued::New { position: 1, .. }));
    Ok(())
}

/// A key has so many jobs at work and brings no more; waiting and ended ones do not count, nor other keys'. Those without
/// a key are counted together.
pub async fn not_while_too_many_are_at_work(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let two = || Admission { max_at_work: Some(2), ..Admission::default() };
    for party in [Some("key-1"), Some("key-2"), None] {
        let new = || NewJob { key_id: party.map(str::to_owned), ..new_job() };
        for _ in 0..3 {
            assert!(matches!(store.enqueue(new(), two()).await?, Enqueued::New { .. }), "waiting ones do not count");
        }
        let leases = [running(&*store, "w").await?, claimed(&*store, "w").await?];
        assert_eq!(store.enqueue(new(), two()).await?, Enqueued::TooManyAtWork(2));
        store.release(&leases[0], crate::Release::Drained).await?;
        assert!(matches!(store.enqueue(new(), two()).await?, Enqueued::New { .. }));
        let lease = running(&*store, "w").await?;
        assert_eq!(store.enqueue(new(), two()).await?, Enqueued::TooManyAtWork(2));
        store.finish(&lease, success().into()).await?;
        assert!(matches!(store.enqueue(new(), two()).await?, Enqueued::New { .. }));
        while claim(&*store, "w").await?.is_some() {}
        assert_eq!(store.enqueue(new(), two()).await?, Enqueued::TooManyAtWork(4));
    }
    Ok(())
}

/// A job that ends at once asks for admission like any other, and counts for nobody afterwards.
pub async fn ended_ones_are_admitted_alike(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let one = || Admission { max_at_work: Some(1), ..Admission::default() };
    let ended = |admission| store.enqueue_ended(job_by("key-1"), admission, failure(422, "validation_error"));
    assert!(matches!(ended(one()).await?, Enqueued::New { .. }));
    assert!(matches!(ended(one()).await?, Enqueued::New { .. }));
    assert!(matches!(store.enqueue(job_by("key-1"), one()).await?, Enqueued::New { .. }));
    claimed(&*store, "w").await?;
    assert_eq!(ended(one()).await?, Enqueued::TooManyAtWork(1));

    let said = || Admission { once: Some(once("word", 1)), ..Admission::default() };
    let Enqueued::New { job, .. } = ended(said()).await? else { panic!("it was not accepted") };
    assert_eq!(ended(said()).await?, Enqueued::Repeated(job));
    Ok(())
}

/// A repeated submit gets the job of the first one, as it stands by then.
pub async fn the_same_word_again(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let first = first_said(&*store, job_by("key-1"), once("word", 1)).await?;
    let again = || store.enqueue(job_by("key-1"), said(once("word", 1)));
    assert_eq!(again().await?, Enqueued::Repeated(first.clone()));
    let lease = running(&*store, "w").await?;
    store.finish(&lease, success().into()).await?;
    let Enqueued::Repeated(ended) = again().await? else { panic!("it was not repeated") };
    assert_eq!((ended.id, ended.state, &ended.outcome), (first.id, State::Done, &Some(success())));
    assert_eq!(claim(&*store, "w").await?, None);
    assert_eq!(place.open().await?.enqueue(job_by("key-1"), said(once("word", 1))).await?, Enqueued::Repeated(ended));
    Ok(())
}

/// The same word of two keys, and of a caller without one, means three jobs.
pub async fn words_belong_to_keys(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for party in [Some("key-1"), Some("key-2"), None] {
        let new = || NewJob { key_id: party.map(str::to_owned), ..new_job() };
        let first = first_said(&*store, new(), once("word", 1)).await?;
        assert_eq!(store.enqueue(new(), said(once("word", 1))).await?, Enqueued::Repeated(first.clone()));
        let other = first_said(&*store, new(), once("other word", 1)).await?;
        assert_ne!(other.id, first.id);
    }
    Ok(())
}

/// The same word for something else is refused.
pub async fn a_word_for_something_else(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let first = first_said(&*store, new_job(), once("word", 1)).await?;
    let refused = job_of("fal-ai/other");
    assert_eq!(store.enqueue(refused.clone(), said(once("word", 2))).await?, Enqueued::WordReused);
    assert_eq!(store.job(refused.id).await?, None);
    assert_eq!(store.enqueue(new_job(), said(once("word", 1))).await?, Enqueued::Repeated(first));
    Ok(())
}

/// Whoever repeats gets their job, however full it is by now.
pub async fn repeats_are_welcome_when_it_is_full(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let full = || Admission { max_waiting: Some(0), max_at_work: Some(1), ..said(once("word", 1)) };
    let Enqueued::New { job: first, .. } = store.enqueue(new_job(), full()).await? else {
        panic!("it was not accepted")
    };
    assert_eq!(store.enqueue(new_job(), full()).await?, Enqueued::Repeated(first));
    let reused = Admission { once: Some(once("word", 2)), ..full() };
    assert_eq!(store.enqueue(new_job(), reused).await?, Enqueued::WordReused);
    let other = Admission { once: Some(once("other word", 1)), ..full() };
    assert_eq!(store.enqueue(new_job(), other).await?, Enqueued::TooManyWaiting(1));
    Ok(())
}

/// A word whose job was refused is as good as never said.
pub async fn refused_words_are_not_remembered(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    enqueued(&*store, new_job()).await?;
    let full = Admission { max_waiting: Some(0), ..said(once("word", 1)) };
    assert_eq!(store.enqueue(new_job(), full).await?, Enqueued::TooManyWaiting(1));
    first_said(&*store, job_of("fal-ai/other"), once("word", 2)).await?;
    Ok(())
}

/// Of many who say the same word at the same time through two stores, one brings the job and the others get it.
pub async fn repeated_at_once(place: &impl Place) -> Result<()> {
    let answers = all_at_once(place, || (new_job(), said(once("word", 1)))).await?;
    let mut brought = Vec::new();
    let mut got = Vec::new();
    for answer in answers {
        match answer {
            Enqueued::New { job, .. } => brought.push(job.id),
            Enqueued::Repeated(job) => got.push(job.id),
            other => panic!("{other:?}"),
        }
    }
    let [job] = brought.as_slice() else { panic!("{} jobs", brought.len()) };
    assert!(got.iter().all(|id| id == job));
    Ok(())
}

/// However many come at the same time through two stores, no more get in than may.
pub async fn never_more_than_allowed(place: &impl Place) -> Result<()> {
    let few = || Admission { max_waiting: Some(4), ..Admission::default() };
    let answers = all_at_once(place, || (job_by("key-1"), few())).await?;
    let accepted = answers.iter().filter(|answer| matches!(answer, Enqueued::New { .. })).count();
    let refused = answers.iter().filter(|answer| **answer == Enqueued::TooManyWaiting(5)).count();
    assert_eq!((accepted, refused), (5, answers.len() - 5));
    Ok(())
}

/// The answers to forty jobs that come at the same time through two stores.
async fn all_at_once(place: &impl Place, new: impl Fn() -> (NewJob, Admission)) -> Result<Vec<Enqueued>> {
    let stores = [place.open().await?, place.open().await?];
    let tasks: Vec<_> = (0..40)
        .map(|i: usize| {
            let (store, (job, admission)) = (stores[i % 2].clone(), new());
            tokio::spawn(async move { store.enqueue(job, admission).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        let Ok(answer) = task.await else { panic!("a caller panicked") };
        answers.push(answer?);
    }
    Ok(answers)
}

async fn first_said(store: &dyn Store, new: NewJob, once: Once) -> Result<Job> {
    match store.enqueue(new, said(once)).await? {
        Enqueued::New { job, .. } => Ok(job),
        other => panic!("the job was not accepted: {other:?}"),
    }
}

fn said(once: Once) -> Admission {
    Admission { once: Some(once), ..Admission::default() }
}

fn once(word: &str, digest: u8) -> Once {
    Once { word: word.to_owned(), digest: [digest; 32] }
}
