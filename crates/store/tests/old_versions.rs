//! Databases of every released version open in this one, with everything in them.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{SqlitePlace, options};
use scumble_store::{Claimable, FileRecord, JobFilter, JobId, NewJob, Outcome, Priority, Result, State, Store};
use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

const DONE: &str = "00000000-0000-4000-8000-000000000001";
const RUNNING: &str = "00000000-0000-4000-8000-000000000002";
const QUEUED: &str = "00000000-0000-4000-8000-000000000003";
const HASH: [u8; 32] = [7; 32];

#[tokio::test]
async fn version_1_opens() -> Result<()> {
    let place = SqlitePlace::new();
    std::fs::copy(fixture("v1.db"), place.path()).expect("the fixture can be copied");
    let store = place.open_sqlite(options()).await?;

    let all = JobFilter { endpoint: None, state: None, before: None, limit: 10 };
    let found: Vec<_> = store.recent(&all).await?.into_iter().map(|line| (line.id, line.state)).collect();
    assert_eq!(found, [(id(QUEUED), State::Queued), (id(RUNNING), State::Running), (id(DONE), State::Done)]);
    let done = store.job(id(DONE)).await?.expect("it is in the fixture");
    assert_eq!((done.input, done.outcome), (json!({"prompt": "two red stars"}), Some(outcome())));
    assert_eq!(store.events(id(DONE), 0).await?.len(), 3);
    assert_eq!(store.file("b/1/image.png").await?.and_then(|file| file.job_id), Some(id(DONE)));
    assert_eq!(store.key_by_hash(&HASH).await?.map(|key| key.label), Some("laptop".to_owned()));

    // And it works on: the lease of the running job is long gone.
    let lease = store.claim("w", &Claimable::All, 1_000).await?.expect("a job is queued");
    assert_eq!(lease.job.id, id(QUEUED));
    let reclaimed = store.reclaim_expired(scumble_store::Limits::default(), outcome()).await?;
    assert_eq!(reclaimed.requeued, [id(RUNNING)]);
    Ok(())
}

#[tokio::test]
#[ignore = "writes the fixture of the newest version; run it once, before a release that changes the schema"]
async fn make_fixture() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    store.create_key("id-1", "laptop", HASH).await?;
    for text in [DONE, RUNNING, QUEUED] {
        store.enqueue(new_job(text)).await?;
    }
    let lease = store.claim("w", &Claimable::All, 1_000).await?.expect("it was just enqueued");
    store.start(&lease).await?;
    store.finish(&lease, outcome(), vec![file()]).await?;
    let lease = store.claim("w", &Claimable::All, 1_000).await?.expect("it was just enqueued");
    store.start(&lease).await?;
    store.close().await;
    shrink(&place.path()).await?;
    std::fs::copy(place.path(), fixture("new.db")).expect("the folder of fixtures can be written");
    Ok(())
}

/// Small pages make a small file.
async fn shrink(path: &Path) -> Result<()> {
    let plain = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Delete);
    let mut conn = plain.connect().await?;
    sqlx::raw_sql("PRAGMA page_size = 512; VACUUM").execute(&mut conn).await?;
    Ok(())
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
        endpoint: "fal-ai/flux/schnell".to_owned(),
        input: json!({"prompt": "two red stars"}),
        key_id: Some("id-1".to_owned()),
        priority: Priority::Normal,
        start_by_ms: None,
        options: json!({"tags": {"team": "a"}}),
    }
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

fn file() -> FileRecord {
    FileRecord {
        path: "b/1/image.png".to_owned(),
        job_id: None,
        content_type: "image/png".to_owned(),
        bytes: 4096,
        created_ms: 1_000,
        expires_ms: None,
    }
}
