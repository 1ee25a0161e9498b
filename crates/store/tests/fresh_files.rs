//! Small files that reach the disk with the outcome that names them, over SQLite.

mod common;

use common::{SqlitePlace, claim, connect, enqueue, new_job, options};
use scumble_store::{Admission, Claim, Claimed, Error, FileRecord, Finish, FreshFile, JobId, Product, Result, Store};

fn record(path: &str) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        job_id: None,
        content_type: "image/png".to_owned(),
        bytes: 3,
        created_ms: 1_000,
        expires_ms: None,
        owner: None,
        access: Default::default(),
    }
}

fn product(paths: &[&str]) -> Product {
    let files = paths.iter().map(|path| record(path)).collect();
    let fresh = paths.iter().map(|path| FreshFile { path: (*path).to_owned(), bytes: path.as_bytes().to_vec() });
    Product { files, fresh: fresh.collect(), ..common::cancelled().into() }
}

/// Ends a job with files of these paths.
async fn made(store: &dyn Store, paths: &[&str]) -> Result<JobId> {
    let id = enqueue(store, new_job()).await?.id;
    let lease = store.claim(&claim()).await?.expect("it waits");
    assert_eq!(store.finish(&lease, product(paths)).await?, Finish::Accepted);
    Ok(id)
}

#[tokio::test]
async fn bytes_are_kept_until_the_file_is_on_disk() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    made(&store, &["b/1", "b/2"]).await?;
    made(&store, &["b/0"]).await?;
    assert_eq!(store.fresh_files(2).await?, ["b/1", "b/2"]);
    assert_eq!(store.fresh_bytes("b/0").await?.as_deref(), Some(b"b/0".as_slice()));
    let gone = store.settle_files(vec!["b/1".to_owned(), "b/0".to_owned(), "b/unknown".to_owned()]).await?;
    assert_eq!(gone, ["b/unknown"]);
    assert_eq!(store.fresh_files(9).await?, ["b/2"]);
    assert_eq!(store.fresh_bytes("b/1").await?, None);
    assert!(store.file("b/1").await?.is_some(), "its row stays");
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_does_not_come_back() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let id = made(&store, &["b/1", "b/2"]).await?;
    assert!(store.forget_file("b/1").await?);
    assert_eq!(store.fresh_files(9).await?, ["b/2"]);
    let left = store.delete_job(id).await?.expect("it has ended");
    for file in left {
        store.forget_file(&file.path).await?;
    }
    assert_eq!(store.fresh_files(9).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn an_end_that_is_refused_keeps_nothing() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    made(&store, &["b/1"]).await?;
    enqueue(&store, new_job()).await?;
    let lease = store.claim(&claim()).await?.expect("it waits");
    let refused = store.finish(&lease, product(&["b/2", "b/1"])).await;
    assert!(matches!(refused, Err(Error::FileExists(_))), "{refused:?}");
    assert_eq!(store.fresh_files(9).await?, ["b/1"]);
    Ok(())
}

/// A power cut leaves what was flushed: the outcome and the bytes, or neither.
#[tokio::test]
async fn bytes_and_outcome_survive_together() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let Claimed::Nothing(seat) = store.claim_or_sit(&Claim { start: true, ..claim() }).await? else {
        panic!("something to take")
    };
    let job = new_job();
    let id = job.id;
    store.enqueue(job, Admission { quiet: true, ..Admission::default() }).await?;
    let lease = seat.leave().expect("it is handed over");
    let log = place.path().with_extension("db-wal");
    let logged = || std::fs::read(&log).expect("the log is there");
    let cut = async |log: Vec<u8>| {
        let cut = SqlitePlace::new();
        std::fs::copy(place.path(), cut.path()).expect("a copy");
        std::fs::write(cut.path().with_extension("db-wal"), log).expect("a copy");
        let after = cut.open_sqlite(options()).await?;
        let found = (after.outcome(id).await?.is_some(), after.fresh_files(9).await?.len());
        assert_eq!(after.problems().await?, Vec::<String>::new());
        Ok::<_, Error>(found)
    };
    let before = logged();
    assert_eq!(store.finish(&lease, product(&["b/1"])).await?, Finish::Accepted);
    let after = logged();
    assert_eq!(cut(before.clone()).await?, (false, 0));
    // the last page of the commit is torn
    assert_eq!(cut(after[..after.len() - 1].to_vec()).await?, (false, 0));
    assert_eq!(cut(after).await?, (true, 1));
    let kept: i64 = connect(&place.path()).query_row("SELECT count(*) FROM fresh_files", [], |row| row.get(0))?;
    assert_eq!(kept, 1);
    Ok(())
}
