//! Fairness: whose job goes next, how many of a key run, who waits for which worker.

use super::*;
use crate::Release;

const MINUTE_MS: i64 = 60_000;

/// The jobs of several keys alternate, each key's own in their order, however many one of them has put in before.
pub async fn keys_take_turns(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for key in ["a", "a", "a", "a", "b", "b", "c"] {
        enqueued(&*store, job_by(key)).await?;
    }
    // Each job ends before the next is claimed, so that only the turns decide.
    assert_eq!(served(&*store).await?, "a b c a b a a");
    for key in ["c", "a", "b", "a"] {
        enqueued(&*store, job_by(key)).await?;
    }
    // c was served the longest ago, a the last.
    assert_eq!(served(&*store).await?, "c b a a");
    Ok(())
}

/// Who has the fewest jobs at work goes first, even if served later than others.
pub async fn fewest_at_work_first(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for key in ["a", "a", "a"] {
        enqueued(&*store, job_by(key)).await?;
    }
    let a_1 = claimed(&*store, "w").await?;
    let a_2 = claimed(&*store, "w").await?;
    for key in ["b", "b", "b"] {
        enqueued(&*store, job_by(key)).await?;
    }
    // a has two at work, so that b gets two in a row.
    assert_eq!(key(&claimed(&*store, "w").await?), "b");
    let b_2 = claimed(&*store, "w").await?;
    assert_eq!(key(&b_2), "b");
    // Now it is two each, and a was served less recently.
    assert_eq!(key(&claimed(&*store, "w").await?), "a");
    // Every way out of work makes room.
    store.release(&a_1, Release::Drained).await?;
    store.finish(&a_2, success().into()).await?;
    let again = claimed(&*store, "w").await?;
    assert_eq!((key(&again), again.job.id), ("a", a_1.job.id));
    store.finish(&b_2, success().into()).await?;
    assert_eq!(key(&claimed(&*store, "w").await?), "b");
    Ok(())
}

/// A job whose worker went away, in an orderly manner or not, goes before all that came later, whoever's turn it is.
pub async fn interrupted_ones_go_first(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let first = enqueued(&*store, job_by("a")).await?;
    let second = enqueued(&*store, NewJob { endpoint: "b/b".to_owned(), ..job_by("b") }).await?;
    let low = enqueued(&*store, NewJob { priority: Priority::Low, ..job_by("a") }).await?;
    let drained = claimed(&*store, "w").await?;
    claimed(&*store, "dead").await?;
    let low_one = claimed(&*store, "w").await?;
    assert_eq!((drained.job.id, low_one.job.id), (first, low));
    let later = [enqueued(&*store, job_by("c")).await?, enqueued(&*store, new_job()).await?];

    assert!(store.release(&drained, Release::Drained).await?);
    assert!(store.release(&low_one, Release::Drained).await?);
    place.clock().advance(LEASE_MS);
    assert_eq!(super::leases::reclaim(&*store).await?.requeued, [second]);
    // c and those without a key never had a turn, and came later
    let mut order = Vec::new();
    while let Some(lease) = claim(&*store, "w").await? {
        order.push(lease.job.id);
        store.finish(&lease, success().into()).await?;
    }
    assert_eq!(order, [first, second, later[0], later[1], low], "a low one still waits behind all normal ones");
    Ok(())
}

/// Having been interrupted is no way around the limit of a key, and what failed and rested has no precedence.
pub async fn interrupted_ones_keep_to_the_rules(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let limited = Claim { per_key: Some(1), ..claim_of("w", Claimable::All) };
    let first = enqueued(&*store, job_by("a")).await?;
    let Some(lease) = store.claim(&limited).await? else { panic!("nothing to claim") };
    let other = enqueued(&*store, NewJob { endpoint: "a/a".to_owned(), ..job_by("a") }).await?;
    assert!(store.release(&lease, Release::Drained).await?);
    let only = Claim { endpoints: Claimable::Only(vec!["a/a".to_owned()]), ..limited.clone() };
    let Some(held) = store.claim(&only).await? else { panic!("nothing to claim") };
    assert_eq!(held.job.id, other);
    assert_eq!(store.claim(&limited).await?, None, "the key has one at work");
    store.finish(&held, success().into()).await?;
    let Some(again) = store.claim(&limited).await? else { panic!("nothing to claim") };
    assert_eq!(again.job.id, first);

    enqueued(&*store, job_by("b")).await?;
    assert!(store.release(&again, Release::Failed { reason: "again".to_owned(), rest_ms: 0 }).await?);
    assert_eq!(key(&claimed(&*store, "w").await?), "b", "it has failed, and a had its turn");
    Ok(())
}

/// A low job of a key that has nothing still waits behind the normal ones of everybody else.
pub async fn priority_before_turns(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    enqueued(&*store, NewJob { priority: Priority::Low, ..job_by("b") }).await?;
    for _ in 0..3 {
        enqueued(&*store, job_by("a")).await?;
    }
    enqueued(&*store, NewJob { priority: Priority::Low, ..job_by("a") }).await?;
    let mut order = Vec::new();
    while let Some(lease) = claim(&*store, "w").await? {
        order.push((key(&lease).to_owned(), lease.job.priority));
    }
    let expected = [
        ("a", Priority::Normal),
        ("a", Priority::Normal),
        ("a", Priority::Normal),
        ("b", Priority::Low),
        ("a", Priority::Low),
    ];
    assert_eq!(order, expected.map(|(key, priority)| (key.to_owned(), priority)));
    Ok(())
}

/// Those without a key take turns with the keys, as if they were one.
pub async fn jobs_without_a_key_are_one_party(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    for _ in 0..3 {
        enqueued(&*store, new_job()).await?;
    }
    for _ in 0..2 {
        enqueued(&*store, job_by("a")).await?;
    }
    assert_eq!(served(&*store).await?, "- a - a -");
    Ok(())
}

/// No more of a key's jobs are at work than the limit, over all endpoints and priorities; others' go meanwhile.
pub async fn a_key_has_its_limit(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let limited = Claim { per_key: Some(2), ..claim_of("w", Claimable::All) };
    enqueued(&*store, job_by("a")).await?;
    enqueued(&*store, NewJob { endpoint: "a/a".to_owned(), ..job_by("a") }).await?;
    let third = enqueued(&*store, NewJob { priority: Priority::Low, ..job_by("a") }).await?;
    let first = store.claim(&limited).await?;
    let Some(first) = first else { panic!("nothing to claim") };
    store.start(&first).await?;
    assert!(store.claim(&limited).await?.is_some());
    assert_eq!(store.claim(&limited).await?, None);
    let other = enqueued(&*store, NewJob { priority: Priority::Low, ..job_by("b") }).await?;
    assert_eq!(store.claim(&limited).await?.map(|lease| lease.job.id), Some(other));

    assert_eq!(store.claim(&limited).await?, None);
    store.finish(&first, success().into()).await?;
    assert_eq!(store.claim(&limited).await?.map(|lease| lease.job.id), Some(third));
    Ok(())
}

/// Jobs without a key have nobody's limit.
pub async fn no_limit_without_a_key(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let limited = Claim { per_key: Some(1), ..claim_of("w", Claimable::All) };
    for _ in 0..3 {
        enqueued(&*store, new_job()).await?;
    }
    for _ in 0..3 {
        assert!(store.claim(&limited).await?.is_some());
    }
    Ok(())
}

/// A key whose turn it is, but whose jobs this worker cannot run, holds nobody up.
pub async fn other_endpoints_do_not_block(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    enqueued(&*store, job_by("a")).await?;
    let runnable = NewJob { endpoint: "b/b".to_owned(), ..job_by("b") };
    let id = enqueued(&*store, runnable).await?;
    let low = enqueued(&*store, NewJob { endpoint: "b/b".to_owned(), priority: Priority::Low, ..job_by("a") }).await?;
    let only = claim_of("w", Claimable::Only(vec!["b/b".to_owned()]));
    assert_eq!(store.claim(&only).await?.map(|lease| lease.job.id), Some(id));
    assert_eq!(store.claim(&only).await?.map(|lease| lease.job.id), Some(low));
    assert_eq!(store.claim(&only).await?, None);
    Ok(())
}

/// A fresh job whose hint a worker has served goes to any slot of that worker and is left alone by others, who take
/// what is behind it.
pub async fn hints_keep_to_their_worker(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let hinted = |hint: &str| NewJob { hint: Some(hint.to_owned()), ..new_job() };
    // Nobody has served the hint: whoever comes first.
    enqueued(&*store, hinted("h")).await?;
    claimed(&*store, "warm/0").await?;

    let for_warm = enqueued(&*store, hinted("h")).await?;
    let behind = enqueued(&*store, new_job()).await?;
    let unserved = enqueued(&*store, hinted("other")).await?;
    assert_eq!(claimed(&*store, "cold/0").await?.job.id, behind);
    assert_eq!(claimed(&*store, "cold/1").await?.job.id, unserved);
    assert_eq!(claim(&*store, "cold/0").await?, None);
    assert_eq!(claimed(&*store, "warm/1").await?.job.id, for_warm);
    Ok(())
}

/// After a second a hinted job is anybody's, and whoever takes it is the hint's worker from then on.
pub async fn hints_wait_a_second(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let hinted = || NewJob { hint: Some("h".to_owned()), ..new_job() };
    enqueued(&*store, hinted()).await?;
    claimed(&*store, "warm/0").await?;
    let second = enqueued(&*store, hinted()).await?;
    place.clock().advance(999);
    assert_eq!(claim(&*store, "cold/0").await?, None);
    place.clock().advance(1);
    assert_eq!(claimed(&*store, "cold/0").await?.job.id, second);

    let third = enqueued(&*store, hinted()).await?;
    assert_eq!(claim(&*store, "warm/0").await?, None);
    assert_eq!(claimed(&*store, "cold/1").await?.job.id, third);
    Ok(())
}

/// A hint that was served long ago binds nobody.
pub async fn hints_are_forgotten(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let hinted = || NewJob { hint: Some("h".to_owned()), ..new_job() };
    enqueued(&*store, hinted()).await?;
    claimed(&*store, "warm/0").await?;
    place.clock().advance(60 * MINUTE_MS);
    let second = enqueued(&*store, hinted()).await?;
    assert_eq!(claimed(&*store, "cold/0").await?.job.id, second);
    Ok(())
}

/// However many claim at once through two stores: each job goes to one of them, and no key gets beyond its limit.
pub async fn many_keys_at_once(place: &impl Place) -> Result<()> {
    let stores = [place.open().await?, place.open().await?];
    for i in 0..40 {
        enqueued(&*stores[0], job_by(&format!("key-{}", i % 5))).await?;
    }
    let tasks: Vec<_> = (0..8)
        .map(|i: usize| {
            let store = stores[i % 2].clone();
            let limited = Claim { per_key: Some(3), ..claim_of(&format!("w/{i}"), Claimable::All) };
            tokio::spawn(async move {
                let mut leases = Vec::new();
                while let Some(lease) = store.claim(&limited).await? {
                    leases.push(lease);
                }
                Ok::<_, crate::Error>(leases)
            })
        })
        .collect();
    let mut keys = BTreeMap::<String, usize>::new();
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        let Ok(leases) = task.await else { panic!("a claimant panicked") };
        for lease in leases? {
            *keys.entry(key(&lease).to_owned()).or_default() += 1;
            assert!(ids.insert(lease.job.id), "claimed twice");
        }
    }
    assert_eq!(keys.into_values().collect::<Vec<_>>(), [3; 5]);
    Ok(())
}

/// Claims and finishes until nothing is left; whose jobs they were, in the order they came.
async fn served(store: &dyn Store) -> Result<String> {
    let mut keys = Vec::new();
    while let Some(lease) = claim(store, "w").await? {
        keys.push(key(&lease).to_owned());
        store.finish(&lease, success().into()).await?;
    }
    Ok(keys.join(" "))
}

/// The key of a job that was claimed, `-` for none.
fn key(lease: &Lease) -> &str {
    lease.job.key_id.as_deref().unwrap_or("-")
}
