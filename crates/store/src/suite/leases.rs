//! Leases: fencing, heartbeats, limits, events, the end.

use super::*;
use crate::{Cancel, Change, Claimed, Error, Event, EventKind, Finish, Level, Limits, NewEvent, Reclaimed, Release};

/// Queued, leased, running, done, with the time and the event of each.
pub async fn a_whole_life(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let begin = place.clock().now_ms();
    let id = enqueued(&*store, new_job()).await?;
    place.clock().advance(100);
    let lease = claimed(&*store, "worker-1").await?;
    assert_eq!((lease.job.id, lease.job.state, lease.job.attempt), (id, State::Leased, 1));
    assert_eq!((lease.worker.as_str(), lease.attempt, lease.expires_ms), ("worker-1", 1, begin + 100 + LEASE_MS));
    place.clock().advance(10);
    assert_eq!(store.start(&lease).await?, ALIVE);
    // Saying it twice changes nothing.
    assert_eq!(store.start(&lease).await?, ALIVE);
    place.clock().advance(1_000);
    assert_eq!(store.finish(&lease, success().into()).await?, Finish::Accepted);

    let ended = job(&*store, id).await?;
    assert_eq!((ended.state, ended.outcome), (State::Done, Some(success())));
    assert_eq!(ended.created_ms, begin);
    assert_eq!((ended.started_ms, ended.finished_ms), (Some(begin + 110), Some(begin + 1_110)));
    let entered: Vec<_> = states(&store.events(id, 0).await?);
    let expected = [(State::Leased, begin + 100), (State::Running, begin + 110), (State::Done, begin + 1_110)];
    assert_eq!(entered, expected);
    Ok(())
}

/// A claim that starts is both, in one go.
pub async fn claimed_and_started(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let begin = place.clock().now_ms();
    let id = enqueued(&*store, new_job()).await?;
    let starting = Claim { start: true, ..claim_of("w", Claimable::All) };
    place.clock().advance(100);
    let mut changes = store.changes();
    let Some(lease) = store.claim(&starting).await? else { panic!("nothing to claim") };
    assert_eq!((lease.job.id, lease.attempt, lease.job.state), (id, 1, State::Running));
    assert_eq!(lease.job, job(&*store, id).await?);
    assert_eq!(lease.job.started_ms, Some(begin + 100));
    let entered: Vec<_> = states(&store.events(id, 0).await?);
    assert_eq!(entered, [(State::Leased, begin + 100), (State::Running, begin + 100)]);
    let heard: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
    assert_eq!(heard, [Change::Job(id), Change::Job(id)]);
    // Saying it once more changes nothing.
    assert_eq!(store.start(&lease).await?, ALIVE);
    assert_eq!(store.claim(&starting).await?, None);
    assert_eq!(store.finish(&lease, success().into()).await?, Finish::Accepted);
    assert_eq!(state(&*store, id).await?, State::Done);
    Ok(())
}

/// Who sits after a look in vain gets the next quiet job, from the queue or from hand to hand, and it lives as any other.
pub async fn who_waits_is_served(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let begin = place.clock().now_ms();
    let starting = Claim { start: true, ..claim_of("w", Claimable::All) };
    let Claimed::Nothing(seat) = store.claim_or_sit(&starting).await? else { panic!("something to claim") };
    let (new, quiet) = (job_by("key-1"), Admission { quiet: true, ..Admission::default() });
    let Enqueued::New { job: accepted, position: 0 } = store.enqueue(new.clone(), quiet).await? else {
        panic!("not accepted")
    };
    let lease = match seat.leave() {
        Some(handed) => handed,
        None => store.claim(&starting).await?.expect("it waits"),
    };
    assert_eq!((accepted.id, lease.job.id, lease.job.input), (new.id, new.id, new.input));
    assert_eq!((lease.attempt, lease.job.attempt, lease.job.state), (1, 1, State::Running));
    assert_eq!((lease.worker.as_str(), lease.expires_ms), ("w", begin + LEASE_MS));
    assert_eq!(store.claim(&starting).await?, None);

    place.clock().advance(5);
    let said = NewEvent { at_ms: begin + 3, kind: EventKind::Log { level: Level::Info, message: "hm".to_owned() } };
    let product = Product { last_words: vec![said.clone()], ..with_files(success(), vec![file("b/1")]) };
    let lease = Lease { job: Job { input: json!(null), ..lease.job }, ..lease };
    let mut changes = store.changes();
    assert_eq!(store.finish(&lease, product).await?, Finish::Accepted);
    assert!(std::iter::from_fn(|| changes.try_recv().ok()).any(|change| change == Change::Ended(new.id)));

    let ended = job(&*store, new.id).await?;
    assert_eq!((ended.state, ended.outcome, ended.attempt), (State::Done, Some(success()), 1));
    assert_eq!((ended.input, ended.key_id.as_deref()), (accepted.input, Some("key-1")));
    let times = (ended.created_ms, ended.started_ms, ended.finished_ms);
    assert_eq!(times, (begin, Some(begin), Some(begin + 5)));
    let events = store.events(new.id, 0).await?;
    let expected = [(State::Leased, begin), (State::Running, begin), (State::Done, begin + 5)];
    assert_eq!(states(&events), expected);
    assert!(events.iter().any(|event| event.kind == said.kind && event.attempt == 1));
    assert_eq!(store.file("b/1").await?.and_then(|file| file.job_id), Some(new.id));
    assert_eq!(store.finish(&lease, success().into()).await?, Finish::Superseded);
    Ok(())
}

/// A job that waits is found by whoever would sit down, and called are those who sit.
pub async fn who_sits_is_called(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let mut changes = store.changes();
    let Claimed::Nothing(mut seat) = store.claim_or_sit(&claim_of("w", Claimable::All)).await? else {
        panic!("something to claim")
    };
    let id = enqueued(&*store, new_job()).await?;
    // a store without seats tells everybody
    tokio::select! {
        () = seat.called() => {}
        change = changes.recv() => assert!(matches!(change, Ok(Change::Queued { .. })), "{change:?}"),
    }
    // a quiet one that comes now does not get there first
    store.enqueue(new_job(), Admission { quiet: true, ..Admission::default() }).await?;
    assert_eq!(seat.leave(), None);
    let Claimed::Job(lease) = store.claim_or_sit(&claim_of("w", Claimable::All)).await? else {
        panic!("nothing to claim")
    };
    assert_eq!(lease.job.id, id);
    Ok(())
}

/// After a takeover only the second claimant's outcome counts.
pub async fn second_claimant_wins(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let first = running(&*store, "slow").await?;
    expire(place, &*store).await?;
    let second = running(&*store, "quick").await?;
    assert_eq!((second.job.id, second.attempt, second.job.crashes), (id, 2, 1));

    assert_eq!(store.finish(&first, with_files(failure(500, "late"), vec![file("b/late")])).await?, Finish::Superseded);
    assert_eq!(state(&*store, id).await?, State::Running);
    assert_eq!(store.finish(&second, success().into()).await?, Finish::Accepted);
    assert_eq!(store.finish(&first, with_files(failure(500, "late"), vec![file("b/late")])).await?, Finish::Superseded);
    let ended = job(&*store, id).await?;
    assert_eq!((ended.state, ended.outcome), (State::Done, Some(success())));
    assert_eq!(store.file("b/late").await?, None);
    Ok(())
}

/// An outcome that comes after the lease was lost counts as long as nobody else has taken the job.
pub async fn late_but_unrivalled(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "slow").await?;
    expire(place, &*store).await?;
    assert_eq!(state(&*store, id).await?, State::Queued);
    assert_eq!(store.finish(&lease, success().into()).await?, Finish::Accepted);
    assert_eq!(state(&*store, id).await?, State::Done);
    assert_eq!(claim(&*store, "other").await?, None);
    Ok(())
}

/// What a run said last stands before its end, if it still had the lease; otherwise only the outcome counts.
pub async fn last_words(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let product = || {
        let word = |at_ms: i64, message: &str| NewEvent { at_ms, kind: line(message) };
        Product { last_words: vec![word(7, "one"), word(8, "two")], ..success().into() }
    };
    let kinds = |events: &[Event]| events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>();

    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    let seen = store.events(id, 0).await?.len();
    assert_eq!(store.finish(&lease, product()).await?, Finish::Accepted);
    let events = store.events(id, 0).await?;
    let [one, two, end] = &events[seen..] else { panic!("{events:?}") };
    assert_eq!((one.at_ms, one.attempt, &one.kind), (7, 1, &line("one")));
    assert_eq!((two.at_ms, &two.kind), (8, &line("two")));
    assert_eq!(end.kind, EventKind::State { state: State::Done, reason: None });
    assert_eq!(store.finish(&lease, product()).await?, Finish::Superseded);
    assert_eq!(store.events(id, 0).await?, events, "what came too late is not kept");

    let id = enqueued(&*store, new_job()).await?;
    let late = running(&*store, "slow").await?;
    expire(place, &*store).await?;
    assert_eq!(store.finish(&late, product()).await?, Finish::Accepted);
    assert!(!kinds(&store.events(id, 0).await?).contains(&line("one")), "the lease was lost");
    Ok(())
}

fn line(message: &str) -> EventKind {
    EventKind::Log { level: Level::Info, message: message.to_owned() }
}

/// The same worker cannot finish twice either.
pub async fn finished_once(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    assert_eq!(store.finish(&lease, failure(422, "validation_error").into()).await?, Finish::Accepted);
    assert_eq!(store.finish(&lease, success().into()).await?, Finish::Superseded);
    let ended = job(&*store, id).await?;
    assert_eq!((ended.state, ended.outcome), (State::Failed, Some(failure(422, "validation_error"))));
    Ok(())
}

/// A worker that beats keeps its job; one whose lease ran out keeps it until somebody takes it away.
pub async fn heartbeats_keep_the_lease(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    for _ in 0..3 {
        place.clock().advance(LEASE_MS - 1);
        assert_eq!(reclaim(&*store).await?, Reclaimed::default());
        assert_eq!(store.heartbeat(&lease, LEASE_MS).await?, ALIVE);
    }
    place.clock().advance(2 * LEASE_MS);
    assert_eq!(store.heartbeat(&lease, LEASE_MS).await?, ALIVE);
    assert_eq!(reclaim(&*store).await?, Reclaimed::default());
    assert_eq!(state(&*store, id).await?, State::Running);
    Ok(())
}

/// Whoever lost the lease is told so, and nothing they say is written.
pub async fn lost_leases_write_nothing(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lost = claimed(&*store, "lost").await?;
    expire(place, &*store).await?;
    check_lost(&*store, &lost).await?;
    assert_eq!(state(&*store, id).await?, State::Queued);

    let held = running(&*store, "held").await?;
    check_lost(&*store, &lost).await?;
    assert_eq!(state(&*store, id).await?, State::Running);

    store.finish(&held, success().into()).await?;
    check_lost(&*store, &lost).await?;
    check_lost(&*store, &held).await?;
    let logged = store.events(id, 0).await?.into_iter().any(|event| matches!(event.kind, EventKind::Log { .. }));
    assert!(!logged);
    Ok(())
}

/// A job that crashes its worker too often is set aside, and the queue goes on.
pub async fn crashes_have_a_limit(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let poison = enqueued(&*store, new_job()).await?;
    for crashes in 1..=2 {
        running(&*store, "victim").await?;
        place.clock().advance(LEASE_MS);
        assert_eq!(reclaim(&*store).await?, Reclaimed { requeued: vec![poison], ..Reclaimed::default() });
        let back = job(&*store, poison).await?;
        assert_eq!((back.state, back.attempt, back.crashes), (State::Queued, crashes, crashes));
    }
    running(&*store, "victim").await?;
    place.clock().advance(LEASE_MS);
    assert_eq!(reclaim(&*store).await?, Reclaimed { set_aside: vec![poison], ..Reclaimed::default() });

    let ended = job(&*store, poison).await?;
    assert_eq!((ended.state, ended.attempt, ended.crashes), (State::Failed, 3, 3));
    assert_eq!(ended.outcome, Some(failure(500, "set_aside")));
    let reasons: Vec<_> = reasons(&store.events(poison, 0).await?);
    assert_eq!(
        reasons.iter().filter(|reason| reason.contains("victim gave no more signs of life")).count(),
        3,
        "{reasons:?}"
    );
    assert_eq!(claim(&*store, "w").await?, None);
    Ok(())
}

/// Attempts that failed count against their own limit; drained ones do not.
pub async fn attempts_have_a_limit(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    store.release(&claimed(&*store, "w").await?, Release::Drained).await?;
    store.release(&claimed(&*store, "w").await?, failed("no connection", 0)).await?;
    let lease = claimed(&*store, "w").await?;
    assert_eq!((lease.attempt, lease.job.counted_attempts()), (3, 2));
    place.clock().advance(LEASE_MS);
    let limits = Limits { max_attempts: 3, max_crashes: 10 };
    let reclaimed = store.reclaim_expired(limits, failure(500, "set_aside")).await?;
    assert_eq!(reclaimed.requeued, [id]);
    claimed(&*store, "w").await?;
    place.clock().advance(LEASE_MS);
    let reclaimed = store.reclaim_expired(limits, failure(500, "set_aside")).await?;
    assert_eq!(reclaimed.set_aside, [id]);
    Ok(())
}

/// A job that comes back goes before those accepted after it, whether it was released or lost.
pub async fn release_keeps_the_place(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let first = enqueued(&*store, new_job()).await?;
    let second = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    assert_eq!(lease.job.id, first);
    assert_eq!(store.position(second).await?, Some(0));
    assert!(store.release(&lease, Release::Drained).await?);
    assert!(!store.release(&lease, Release::Drained).await?);
    assert_eq!(store.position(second).await?, Some(1));

    let back = job(&*store, first).await?;
    assert_eq!((back.state, back.attempt, back.drained, back.crashes), (State::Queued, 1, 1, 0));
    assert_eq!(back.counted_attempts(), 0);
    let again = claimed(&*store, "w").await?;
    assert_eq!((again.job.id, again.attempt), (first, 2));
    expire(place, &*store).await?;
    assert_eq!(claimed(&*store, "w").await?.job.id, first);
    assert_eq!(claimed(&*store, "w").await?.job.id, second);
    Ok(())
}

/// A job that rests is queued, and nobody gets it before its time; then it has its old place again.
pub async fn rest_keeps_the_place(place: &impl Place) -> Result<()> {
    const REST_MS: i64 = 5_000;
    let store = place.open().await?;
    let mut changes = store.changes();
    let first = enqueued(&*store, new_job()).await?;
    let second = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    let mut heard = move || std::iter::from_fn(|| changes.try_recv().ok()).collect::<Vec<_>>();
    heard();
    assert!(store.release(&lease, failed("no connection", REST_MS)).await?);
    // Whoever can run it is told now, and looks again by itself.
    assert!(heard().contains(&Change::Queued { endpoint: ENDPOINT.to_owned() }));

    let resting = job(&*store, first).await?;
    assert_eq!((resting.state, resting.attempt, resting.counted_attempts()), (State::Queued, 1, 1));
    assert_eq!(resting.not_before_ms, Some(place.clock().now_ms() + REST_MS));
    assert_eq!((store.position(first).await?, store.position(second).await?), (Some(0), Some(1)));
    assert!(reasons(&store.events(first, 0).await?).contains(&"no connection".to_owned()));
    assert_eq!(claimed(&*store, "w").await?.job.id, second);
    place.clock().advance(REST_MS - 1);
    assert_eq!(claim(&*store, "w").await?, None);

    let third = enqueued(&*store, new_job()).await?;
    place.clock().advance(1);
    assert_eq!(claimed(&*store, "w").await?.job.id, first);
    assert_eq!(claimed(&*store, "w").await?.job.id, third);
    Ok(())
}

/// A resting job can be cancelled and ended like any that waits.
pub async fn resting_jobs_end(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let timed_out = rested(&*store).await?;
    assert!(store.end_unstarted(timed_out, failure(504, "request_timeout")).await?);
    assert_eq!(state(&*store, timed_out).await?, State::Failed);
    let unwanted = rested(&*store).await?;
    assert_eq!(store.cancel(unwanted, cancelled()).await?, Cancel::Removed);
    assert_eq!(state(&*store, unwanted).await?, State::Cancelled);
    place.clock().advance(5_000);
    assert_eq!(claim(&*store, "w").await?, None);
    Ok(())
}

/// Previews are there while the job lives and gone when it has ended; everything else stays.
pub async fn previews_end_with_the_job(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    let preview = EventKind::Preview { image: "data:image/png;base64,AAAA".to_owned() };
    let line = line("hello");
    let new = [&preview, &line].map(|kind| NewEvent { at_ms: 1, kind: kind.clone() });
    store.log(&lease, new.to_vec()).await?;
    let is_preview = |event: &Event| matches!(event.kind, EventKind::Preview { .. });
    assert!(store.events(id, 0).await?.iter().any(is_preview));
    store.finish(&lease, success().into()).await?;
    let events = store.events(id, 0).await?;
    assert!(!events.iter().any(is_preview), "{events:?}");
    assert!(events.iter().any(|event| event.kind == line), "{events:?}");
    assert_eq!(states(&events).len(), 3);
    Ok(())
}

/// Events come in order, each once, from where the reader left off.
pub async fn events_after(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    enqueued(&*store, new_job()).await?;
    let other = running(&*store, "w").await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    let before = store.events(id, 0).await?.last().map_or(0, |event| event.seq);

    let kinds = [
        EventKind::Log { level: Level::Stderr, message: "25%|██▌ \"quoted\"".to_owned() },
        EventKind::Progress { stage: "denoise".to_owned(), done: 1, total: 4 },
        EventKind::Submitted { maker: "bfl".to_owned(), ticket: "{\"tasks\":{}}".to_owned() },
        EventKind::Preview { image: "data:image/png;base64,AAAA".to_owned() },
    ];
    let new = |kind: &EventKind| NewEvent { at_ms: 77, kind: kind.clone() };
    assert_eq!(store.log(&lease, kinds.iter().map(new).collect()).await?, ALIVE);
    assert_eq!(store.log(&other, vec![new(&kinds[0])]).await?, ALIVE);
    assert_eq!(store.log(&lease, vec![]).await?, ALIVE);

    let events = store.events(id, before).await?;
    assert_eq!(events.iter().map(|event| &event.kind).collect::<Vec<_>>(), kinds.iter().collect::<Vec<_>>());
    assert!(events.iter().all(|event| (event.job_id, event.attempt, event.at_ms) == (id, 1, 77)));
    let [first, second, third, last] = events.as_slice() else { panic!("{events:?}") };
    assert!(before < first.seq && first.seq < second.seq && second.seq < third.seq && third.seq < last.seq);
    assert_eq!(store.events(id, third.seq).await?, std::slice::from_ref(last));
    assert_eq!(store.events(id, last.seq).await?, []);
    Ok(())
}

/// Outcome, files and end are written together or not at all.
pub async fn outcome_and_files_together(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    store.put_file(file("b/taken")).await?;
    let id = enqueued(&*store, new_job()).await?;
    let lease = running(&*store, "w").await?;
    let seen = store.events(id, 0).await?;

    let clash = store.finish(&lease, with_files(success(), vec![file("b/new"), file("b/taken")])).await;
    assert!(matches!(&clash, Err(Error::FileExists(path)) if path == "b/taken"), "{clash:?}");
    assert_eq!(store.file("b/new").await?, None);
    assert_eq!(state(&*store, id).await?, State::Running);
    assert_eq!(store.events(id, 0).await?, seen);

    assert_eq!(
        store.finish(&lease, with_files(success(), vec![file("b/one"), file("b/two")])).await?,
        Finish::Accepted
    );
    for path in ["b/one", "b/two"] {
        assert_eq!(store.file(path).await?, Some(FileRecord { job_id: Some(id), ..file(path) }));
    }
    Ok(())
}

/// A job that has failed once and rests for five seconds.
pub(super) async fn rested(store: &dyn Store) -> Result<JobId> {
    let id = enqueued(store, new_job()).await?;
    assert!(store.release(&claimed(store, "w").await?, failed("no connection", 5_000)).await?);
    Ok(id)
}

fn failed(reason: &str, rest_ms: i64) -> Release {
    Release::Failed { reason: reason.to_owned(), rest_ms }
}

/// Lets every lease expire and takes them back.
async fn expire(place: &impl Place, store: &dyn Store) -> Result<()> {
    place.clock().advance(LEASE_MS);
    assert_eq!(reclaim(store).await?.requeued.len(), 1);
    Ok(())
}

pub(super) async fn reclaim(store: &dyn Store) -> Result<Reclaimed> {
    store.reclaim_expired(Limits::default(), failure(500, "set_aside")).await
}

async fn check_lost(store: &dyn Store, lease: &Lease) -> Result<()> {
    let line = line("from beyond");
    assert_eq!(store.start(lease).await?, Beat::Lost);
    assert_eq!(store.heartbeat(lease, LEASE_MS).await?, Beat::Lost);
    assert_eq!(store.log(lease, vec![NewEvent { at_ms: 1, kind: line }]).await?, Beat::Lost);
    assert!(!store.release(lease, Release::Drained).await?);
    Ok(())
}

/// The states that were entered, with their time.
fn states(events: &[Event]) -> Vec<(State, i64)> {
    let state = |event: &Event| match event.kind {
        EventKind::State { state, .. } => Some((state, event.at_ms)),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

/// The reasons that states were entered for.
fn reasons(events: &[Event]) -> Vec<String> {
    let reason = |event: &Event| match &event.kind {
        EventKind::State { reason, .. } => reason.clone(),
        _ => None,
    };
    events.iter().filter_map(reason).collect()
}
