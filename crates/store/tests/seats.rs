//! Quiet jobs that go from hand to hand over SQLite: when they do, and when they are in the database.

mod common;

use common::{SqlitePlace, claim, connect, enqueue, new_job, options};
use scumble_store::suite::Place;
use scumble_store::{
    Admission, Beat, Cancel, Change, Claim, Claimable, Claimed, Clock, Enqueued, Error, Finish, JobId, Lease, NewJob,
    Once, Options, Release, Result, Seat, SqliteStore, State, Store,
};

/// A seat for whoever makes this claim; there must be nothing to take.
async fn sit(store: &dyn Store, claim: Claim) -> Result<Seat> {
    match store.claim_or_sit(&Claim { start: true, ..claim }).await? {
        Claimed::Nothing(seat) => Ok(seat),
        Claimed::Job(lease) => panic!("there is something to take: {lease:?}"),
    }
}

fn quiet() -> Admission {
    Admission { quiet: true, ..Admission::default() }
}

/// Hands a new job to a worker who waits.
async fn handed(store: &dyn Store) -> Result<Lease> {
    let seat = sit(store, claim()).await?;
    store.enqueue(new_job(), quiet()).await?;
    Ok(seat.leave().expect("it is handed over"))
}

/// How the database itself has the job.
fn in_database(place: &SqlitePlace, id: JobId) -> Option<String> {
    let conn = connect(&place.path());
    let found = conn.query_row("SELECT state FROM jobs WHERE id = ?1", [id.to_string()], |row| row.get(0));
    found.ok()
}

#[tokio::test]
async fn written_with_its_end() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open().await?;
    let lease = handed(&*store).await?;
    // unless the machine was busy for so long that it was written down meanwhile
    let its_end_is_all = store.keeps_files_of(&lease);
    assert!(its_end_is_all || in_database(&place, lease.job.id).is_some());
    let outcome = common::cancelled();
    let status = outcome.status;
    assert_eq!(store.finish(&lease, outcome.into()).await?, Finish::Accepted);
    assert_eq!(in_database(&place, lease.job.id).as_deref(), Some("failed"));
    assert_eq!(store.outcome(lease.job.id).await?.map(|outcome| outcome.status), Some(status));
    Ok(())
}

#[tokio::test]
async fn one_that_lasts_is_written_down() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open().await?;
    let mut changes = store.changes();
    let lease = handed(&*store).await?;
    let id = lease.job.id;
    while changes.recv().await.ok() != Some(Change::Job(id)) {}
    assert_eq!(in_database(&place, id).as_deref(), Some("running"));
    let at_work: Vec<_> = store.at_work().await?.into_iter().map(|work| (work.job, work.worker)).collect();
    assert_eq!(at_work, [(id, lease.worker.clone())]);
    assert_eq!(store.finish(&lease, common::cancelled().into()).await?, Finish::Accepted);
    assert_eq!(in_database(&place, id).as_deref(), Some("failed"));
    // and nothing of it is at work any more
    let alone = Admission { max_at_work: Some(1), ..quiet() };
    assert!(matches!(store.enqueue(new_job(), alone).await?, Enqueued::New { .. }));
    Ok(())
}

#[tokio::test]
async fn whoever_asks_for_it_finds_it() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open().await?;
    let now_ms = place.clock().now_ms();

    let lease = handed(&*store).await?;
    let found = store.job(lease.job.id).await?.expect("it is there");
    assert!(found.seq > 0);
    assert_eq!((found.state, found.attempt, found.started_ms), (State::Running, 1, Some(now_ms)));
    assert!(!store.keeps_files_of(&lease), "it lasts");
    store.finish(&lease, common::cancelled().into()).await?;

    let lease = handed(&*store).await?;
    assert_eq!(store.summary(lease.job.id).await?.map(|job| job.state), Some(State::Running));
    store.finish(&lease, common::cancelled().into()).await?;

    let lease = handed(&*store).await?;
    assert_eq!(store.outcome(lease.job.id).await?, None);
    assert_eq!(store.heartbeat(&lease, 1_000).await?, Beat::Alive { cancel_requested: false });
    assert_eq!(store.cancel(lease.job.id, common::cancelled()).await?, Cancel::Requested);
    assert_eq!(store.log(&lease, Vec::new()).await?, Beat::Alive { cancel_requested: true });
    assert!(store.release(&lease, Release::Drained).await?);
    assert_eq!(in_database(&place, lease.job.id).as_deref(), Some("cancelled"));
    Ok(())
}

#[tokio::test]
async fn given_back_it_waits_like_others() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open().await?;
    let lease = handed(&*store).await?;
    assert!(store.release(&lease, Release::Drained).await?);
    let again = store.claim(&claim()).await?.map(|lease| (lease.job.id, lease.attempt));
    assert_eq!(again, Some((lease.job.id, 2)));
    Ok(())
}

#[tokio::test]
async fn what_depends_on_others_stands_in_line() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open().await?;
    let once = Once { word: "again".to_owned(), digest: [0; 32] };
    let job = new_job;
    let not_handed = [
        ("a submit", claim(), job(), Admission::default()),
        ("a word", claim(), job(), Admission { once: Some(once), ..quiet() }),
        ("a limit of those at work", claim(), job(), Admission { max_at_work: Some(9), ..quiet() }),
        ("a hint", claim(), NewJob { hint: Some("warm".to_owned()), ..job() }, quiet()),
        ("a webhook", claim(), NewJob { webhook: Some("https://example.com".to_owned()), ..job() }, quiet()),
        ("a worker with a limit for each key", Claim { per_key: Some(9), ..claim() }, job(), quiet()),
        (
            "a worker of other endpoints",
            Claim { endpoints: Claimable::Only(vec!["fal-ai/other".to_owned()]), ..claim() },
            job(),
            quiet(),
        ),
    ];
    for (what, looking, job, admission) in not_handed {
        let seat = sit(&*store, looking).await?;
        let id = job.id;
        store.enqueue(job, admission).await?;
        assert_eq!(in_database(&place, id).as_deref(), Some("queued"), "{what}");
        assert_eq!(seat.leave(), None, "{what}");
        let lease = store.claim(&claim()).await?.expect("it waits");
        assert!(!store.keeps_files_of(&lease), "{what}");
        store.finish(&lease, common::cancelled().into()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_end_that_cannot_be_written_is_told_to_who_asks() -> Result<()> {
    let place = SqlitePlace::new();
    let impatient = Options { busy_timeout: std::time::Duration::ZERO, ..options() };
    let store: SqliteStore = place.open_sqlite(impatient).await?;
    let lease = handed(&store).await?;
    let id = lease.job.id;
    let other = connect(&place.path());
    other.execute_batch("BEGIN IMMEDIATE")?;
    let refused = store.finish(&lease, common::cancelled().into()).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    // nobody runs it, so who waits for it has to be told, and then nothing of it is left
    let told = store.outcome(id).await;
    assert!(matches!(told, Err(Error::Busy(_))), "{told:?}");
    other.execute_batch("ROLLBACK")?;
    assert_eq!((store.outcome(id).await?, in_database(&place, id)), (None, None));
    // the next one is refused before anybody runs it for nothing
    let _seat = sit(&store, claim()).await?;
    let refused = store.enqueue(new_job(), quiet()).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    // others go on
    enqueue(&store, new_job()).await?;
    Ok(())
}
