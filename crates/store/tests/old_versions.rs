//! Databases of every released version open in this one, with everything in them, and work on.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{SqlitePlace, connect, enqueue, options};
use scumble_store::{
    Access, AccessRule, Admission, Claim, Count, Decision, DeliveryAttempt, DeliveryLease, DeliveryState, Enqueued,
    EventKind, FileRecord, Finish, JobFilter, JobId, Limits, NewEvent, NewJob, NextDelivery, Once, Outcome, Priority,
    Product, Release, Result, Retention, SecretBytes, State, Store,
};
use serde_json::json;

const DONE: &str = "00000000-0000-4000-8000-000000000001";
const RUNNING: &str = "00000000-0000-4000-8000-000000000002";
const QUEUED: &str = "00000000-0000-4000-8000-000000000003";
const RESTING: &str = "00000000-0000-4000-8000-000000000004";
const HASH: [u8; 32] = [7; 32];

#[tokio::test]
async fn version_1_opens() -> Result<()> {
    let place = SqlitePlace::new();
    let store = open(&place, "v1.db").await?;
    check_common(&store, &[(QUEUED, State::Queued), (RUNNING, State::Running), (DONE, State::Done)]).await?;
    let file = store.file("b/1/image.png").await?.expect("it is in the fixture");
    assert_eq!((file.job_id, file.owner, file.access), (Some(id(DONE)), None, Access::default()));
    let queued = store.job(id(QUEUED)).await?.expect("it is in the fixture");
    assert_eq!((queued.webhook, queued.hint, queued.keep_io, queued.not_before_ms), (None, None, true, None));
    check_works_on(&store).await
}

/// A process of version 1 that has the database open while it is brought up to date works on, and what it does is
/// counted.
#[tokio::test]
async fn version_1_may_still_run() -> Result<()> {
    let place = SqlitePlace::new();
    let store = open(&place, "v1.db").await?;
    let old = connect(&place.path());
    old.execute(
        "INSERT INTO jobs (id, endpoint, key_id, priority, start_by_ms, state, created_ms) \
         VALUES (?1, 'a/a', 'id-1', 0, NULL, 'queued', 5)",
        [RESTING],
    )?;
    old.execute("INSERT INTO inputs (job_seq, input, options) VALUES (last_insert_rowid(), '{}', '{}')", [])?;
    let claimed: String = old.query_row(
        "UPDATE jobs SET state = 'leased', attempt = attempt + 1, worker = 'old', lease_expires_ms = ?1 \
         WHERE seq = (SELECT seq FROM jobs WHERE state = 'queued' ORDER BY priority, seq LIMIT 1) RETURNING id",
        [i64::MAX],
        |row| row.get(0),
    )?;
    assert_eq!(claimed, QUEUED);

    let flux = || "fal-ai/flux/schnell".to_owned();
    let mut counts = store.counts().await?;
    counts.sort_by_key(|count| (count.endpoint.clone(), count.state.as_str()));
    let count = |endpoint, state| Count { endpoint, state, jobs: 1 };
    let expected =
        [count("a/a".to_owned(), State::Queued), count(flux(), State::Leased), count(flux(), State::Running)];
    assert_eq!(counts, expected);
    // The old one's jobs at work count for their key, and its new job can be claimed here.
    assert_eq!(store.claim(&Claim { per_key: Some(2), ..common::claim() }).await?, None);
    let lease = store.claim(&Claim { per_key: Some(3), ..common::claim() }).await?;
    assert_eq!(lease.map(|lease| lease.job.id), Some(id(RESTING)));
    Ok(())
}

#[tokio::test]
async fn version_2_opens() -> Result<()> {
    check_whole("v2.db").await
}

#[tokio::test]
async fn version_3_opens() -> Result<()> {
    check_whole("v3.db").await
}

#[tokio::test]
async fn version_4_opens() -> Result<()> {
    check_whole("v4.db").await
}

/// Nobody told callers of older versions that their results would go.
#[tokio::test]
async fn results_of_older_versions_stay() -> Result<()> {
    let place = SqlitePlace::new();
    let store = open(&place, "v4.db").await?;
    let new = enqueue(&store, NewJob { id: JobId::random(), ..new_job(QUEUED) }).await?;
    store.cancel(new.id, common::cancelled()).await?;
    for delivery in store.claim_deliveries(10, DeliveryLease::of(1_000)).await? {
        let attempt = DeliveryAttempt { at_ms: 1, duration_ms: 1, status: Some(200), error: None };
        assert!(store.delivery_attempted(&delivery, attempt, NextDelivery::Delivered).await?);
    }
    assert!(store.has_older().await?);
    let at_once = Retention { kept_ms: Some(0), unkept_ms: 0 };
    assert_eq!(store.purge_younger(at_once, 10).await?, 1);
    assert_eq!((store.job(new.id).await?, store.job(id(DONE)).await?.is_some()), (None, true));
    assert_eq!(store.file("b/1/image.png").await?.and_then(|file| file.expires_ms), None);
    // unless the owner says how long
    assert_eq!(store.purge(at_once, 10).await?, 1);
    assert_eq!(store.job(id(DONE)).await?, None);
    assert!(store.file("b/1/image.png").await?.is_some_and(|file| file.expires_ms.is_some()));
    Ok(())
}

/// What [`make_fixture`] has put into it.
async fn check_whole(fixture: &str) -> Result<()> {
    let place = SqlitePlace::new();
    let store = open(&place, fixture).await?;
    let expected = [(RESTING, State::Queued), (QUEUED, State::Queued), (RUNNING, State::Running), (DONE, State::Done)];
    check_common(&store, &expected).await?;
    let file = store.file("b/1/image.png").await?;
    assert_eq!(file, Some(FileRecord { job_id: Some(id(DONE)), ..made_file() }));
    assert_eq!(store.job(id(QUEUED)).await?.and_then(|job| job.hint), Some("session-7".to_owned()));
    let resting = store.job(id(RESTING)).await?.expect("it is in the fixture");
    assert!(resting.not_before_ms.is_some() && !resting.keep_io);
    let again = store.enqueue(NewJob { id: JobId::random(), ..new_job(QUEUED) }, said()).await?;
    assert!(matches!(again, Enqueued::Repeated(job) if job.id == id(QUEUED)));
    let previews = store.events(id(RUNNING), 0).await?.into_iter().filter(|event| event.kind == preview()).count();
    assert_eq!(previews, 1);
    let secrets = store.secrets("tokens", SecretBytes::new("another")).await?;
    assert_eq!(secrets.iter().map(|secret| secret.value.reveal()).collect::<Vec<_>>(), [b"secret"]);
    let deliveries = store.deliveries(id(DONE)).await?;
    assert_eq!(deliveries.iter().map(|delivery| delivery.state).collect::<Vec<_>>(), [DeliveryState::Pending]);
    assert_eq!(store.claim_deliveries(10, DeliveryLease::of(1_000)).await?.len(), 1);
    check_works_on(&store).await
}

/// What every version knew.
async fn check_common(store: &dyn Store, jobs: &[(&str, State)]) -> Result<()> {
    let all = JobFilter { endpoint: None, state: None, key_id: Some("id-1".to_owned()), before: None, limit: 10 };
    let found: Vec<_> = store.recent(&all).await?.into_iter().map(|line| (line.id, line.state)).collect();
    assert_eq!(found, jobs.iter().map(|(text, state)| (id(text), *state)).collect::<Vec<_>>());
    let done = store.job(id(DONE)).await?.expect("it is in the fixture");
    assert_eq!((done.input, done.outcome), (json!({"prompt": "two red stars"}), Some(outcome())));
    assert_eq!(store.events(id(DONE), 0).await?.len(), 3);
    assert_eq!(store.key_by_hash(&HASH).await?.map(|key| key.label), Some("laptop".to_owned()));
    // Those at work were counted.
    let at_work = jobs.iter().filter(|(_, state)| *state == State::Running).count() as u64;
    let full = Admission { max_at_work: Some(at_work), ..Admission::default() };
    let refused = store.enqueue(NewJob { id: JobId::random(), ..new_job(QUEUED) }, full).await?;
    assert_eq!(refused, Enqueued::TooManyAtWork(at_work));
    Ok(())
}

/// The queue goes on: the lease of the running job is long gone.
async fn check_works_on(store: &dyn Store) -> Result<()> {
    let claim = Claim { per_key: Some(2), ..common::claim() };
    let lease = store.claim(&claim).await?.expect("a job is queued");
    assert_eq!(lease.job.id, id(QUEUED));
    // Its key has two at work now.
    assert_eq!(store.claim(&claim).await?.map(|lease| lease.job.id), None);
    let reclaimed = store.reclaim_expired(Limits::default(), outcome()).await?;
    assert_eq!(reclaimed.requeued, [id(RUNNING)]);
    let again = store.claim(&claim).await?.expect("a job is queued");
    assert_eq!(again.job.id, id(RUNNING));
    for lease in [lease, again] {
        store.start(&lease).await?;
        assert_eq!(store.finish(&lease, outcome().into()).await?, Finish::Accepted);
    }
    let new = NewJob { id: JobId::random(), ..new_job(QUEUED) };
    assert_eq!(enqueue(store, new).await?.state, State::Queued);
    Ok(())
}

#[tokio::test]
#[ignore = "writes the fixture of the newest version; run it once, before a release that changes the schema"]
async fn make_fixture() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    store.create_key("id-1", "laptop", HASH).await?;
    store.secrets("tokens", SecretBytes::new("secret")).await?;
    let webhook = Some("https://example.com/hook".to_owned());
    enqueue(&store, NewJob { webhook, ..new_job(DONE) }).await?;
    enqueue(&store, new_job(RUNNING)).await?;
    let claim = common::claim();
    let done = store.claim(&claim).await?.expect("it was just enqueued");
    store.start(&done).await?;
    store.finish(&done, Product { files: vec![made_file()], ..outcome().into() }).await?;
    let running = store.claim(&claim).await?.expect("it was just enqueued");
    store.start(&running).await?;
    store.log(&running, vec![NewEvent { at_ms: 1, kind: preview() }]).await?;
    store.enqueue(NewJob { hint: Some("session-7".to_owned()), ..new_job(QUEUED) }, said()).await?;
    // An endpoint of its own, so that the claim below takes it and no other.
    let lonely = NewJob { endpoint: "fal-ai/other".to_owned(), keep_io: false, ..new_job(RESTING) };
    enqueue(&store, lonely).await?;
    let only = scumble_store::Claimable::Only(vec!["fal-ai/other".to_owned()]);
    let resting = store.claim(&Claim { endpoints: only, ..claim }).await?.expect("it was just enqueued");
    const A_THOUSAND_YEARS_MS: i64 = 1_000 * 365 * 86_400_000;
    let why = Release::Failed { reason: "no connection".to_owned(), rest_ms: A_THOUSAND_YEARS_MS };
    assert!(store.release(&resting, why).await?);
    store.close().await;
    shrink(&place.path())?;
    std::fs::copy(place.path(), fixture("new.db")).expect("the folder of fixtures can be written");
    Ok(())
}

/// Small pages make a small file.
fn shrink(path: &Path) -> Result<()> {
    Ok(connect(path).execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM")?)
}

async fn open(place: &SqlitePlace, name: &str) -> Result<scumble_store::SqliteStore> {
    std::fs::copy(fixture(name), place.path()).expect("the fixture can be copied");
    place.open_sqlite(options()).await
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn id(text: &str) -> JobId {
    text.parse().expect("it is an id")
}

fn new_job(text: &str) -> NewJob {
    NewJob {
        id: id(text),
        key_id: Some("id-1".to_owned()),
        priority: Priority::Normal,
        options: json!({"tags": {"team": "a"}}),
        ..common::new_job()
    }
}

fn said() -> Admission {
    Admission { once: Some(Once { word: "word".to_owned(), digest: [9; 32] }), ..Admission::default() }
}

fn preview() -> EventKind {
    EventKind::Preview { image: "data:image/png;base64,AAAA".to_owned() }
}

fn outcome() -> Outcome {
    Outcome {
        status: 200,
        body: json!({"images": [{"url": "b/1/image.png"}]}),
        headers: BTreeMap::from([("x-fal-billable-units".to_owned(), "1".to_owned())]),
        error: None,
        error_type: None,
        inference_ms: Some(1234),
    }
}

fn made_file() -> FileRecord {
    let rule = AccessRule { user: "id-2".to_owned(), decision: Decision::Allow };
    FileRecord {
        path: "b/1/image.png".to_owned(),
        job_id: None,
        content_type: "image/png".to_owned(),
        bytes: 4096,
        created_ms: 1_000,
        expires_ms: None,
        owner: Some("id-1".to_owned()),
        access: Access { default: Decision::Hide, rules: vec![rule] },
    }
}
