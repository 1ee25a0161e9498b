//! The suite over SQLite, and what is SQLite's own.

mod common;

use std::sync::Arc;

use common::{SqlitePlace, new_job, options};
use scumble_store::{Error, Options, Result, SqliteStore, Store, store_suite};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

store_suite!(SqlitePlace::new());

#[tokio::test]
async fn writes_are_durable_and_space_comes_back() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let mut conn = SqliteConnectOptions::new().filename(place.path()).connect().await?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut conn).await?;
    let vacuum: i64 = sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(&mut conn).await?;
    const INCREMENTAL: i64 = 2;
    assert_eq!((journal.as_str(), vacuum), ("wal", INCREMENTAL));
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn closing_leaves_one_file() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    store.enqueue(new_job()).await?;
    store.close().await;
    assert_eq!(place.files(), ["scumble.db"]);
    Ok(())
}

#[test]
fn a_store_that_vanishes_midway_loses_nothing_acknowledged() -> Result<()> {
    let place = SqlitePlace::new();
    let (acknowledge, acknowledged) = std::sync::mpsc::channel();
    let runtime = common::runtime();
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(place.open_sqlite(options()).await?);
        for _ in 0..64 {
            let (store, acknowledge) = (store.clone(), acknowledge.clone());
            tokio::spawn(async move {
                while let Ok(job) = store.enqueue(new_job()).await {
                    let _ = acknowledge.send(job.id);
                }
            });
        }
        Ok::<_, Error>(())
    })?;
    drop(acknowledge);
    let mut ids: Vec<_> = acknowledged.iter().take(500).collect();
    // The runtime goes, with the writer in the middle of whatever it does.
    runtime.shutdown_background();
    ids.extend(acknowledged.iter());

    common::runtime().block_on(async {
        let store = place.open_sqlite(options()).await?;
        for id in &ids {
            assert!(store.job(*id).await?.is_some(), "{id} was acknowledged and is gone");
        }
        Ok(())
    })
}

#[tokio::test]
async fn a_full_database_says_so_and_recovers() -> Result<()> {
    let place = SqlitePlace::new();
    let small = Options { max_bytes: Some(400_000), ..options() };
    let store = place.open_sqlite(small).await?;
    let first = store.enqueue(new_job()).await?;
    let mut big = new_job();
    big.input = serde_json::json!({"image": "x".repeat(1_000_000)});
    // Together, so that they share a commit: the big one fails and takes nobody with it, or nobody is told otherwise.
    let (refused, small) = tokio::join!(store.enqueue(big), store.enqueue(new_job()));
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    match small {
        Ok(job) => assert!(store.job(job.id).await?.is_some()),
        Err(error) => assert!(matches!(error, Error::Full(_)), "{error}"),
    }
    assert!(store.job(first.id).await?.is_some());
    let after = store.enqueue(new_job()).await?;
    assert!(store.job(after.id).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_write_that_fails_spares_its_neighbours() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let taken = store.enqueue(new_job()).await?;
    let again = || scumble_store::NewJob { id: taken.id, ..new_job() };
    let (a, b, c, d, e) = tokio::join!(
        store.enqueue(new_job()),
        store.enqueue(again()),
        store.enqueue(new_job()),
        store.enqueue(again()),
        store.enqueue(new_job()),
    );
    for accepted in [a, c, e] {
        let id = accepted?.id;
        assert!(store.job(id).await?.is_some());
    }
    assert!(matches!(b, Err(Error::JobExists(_))));
    assert!(matches!(d, Err(Error::JobExists(_))));
    Ok(())
}

#[tokio::test]
async fn a_locked_database_is_busy() -> Result<()> {
    let place = SqlitePlace::new();
    let impatient = Options { busy_timeout: std::time::Duration::ZERO, ..options() };
    let store = place.open_sqlite(impatient).await?;
    let mut other = SqliteConnectOptions::new().filename(place.path()).connect().await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await?;
    let refused = store.enqueue(new_job()).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    sqlx::query("ROLLBACK").execute(&mut other).await?;
    store.enqueue(new_job()).await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_cannot_be_written_says_so() -> Result<()> {
    let place = SqlitePlace::new();
    place.open_sqlite(options()).await?.close().await;
    // SQLite's own switch, because permissions do not stop every user who may run this test.
    let mut conn = SqliteConnectOptions::new().filename(place.path()).read_only(true).connect().await?;
    let refused = sqlx::query("DELETE FROM keys").execute(&mut conn).await.map_err(Error::from);
    assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_hold_it_is_named() {
    let place = SqlitePlace::new();
    let file = place.folder().join("file");
    std::fs::write(&file, b"").expect("a temporary folder can be written");
    // A file in place of the folder, a folder in place of the file, and a folder nobody can write into.
    let unwritable = std::path::Path::new("/proc");
    for path in [file.join("scumble.db"), place.folder().to_owned(), unwritable.join("scumble.db")] {
        let refused = SqliteStore::open(&path, options()).await.map(|_| ());
        assert!(matches!(&refused, Err(Error::Open { path: named, .. }) if *named == path), "{refused:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_folder_is_an_error() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let place = SqlitePlace::new();
    let closed = place.folder().join("closed");
    std::fs::create_dir(&closed).expect("a temporary folder can be written");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).expect("its owner may do that");
    let may_do_anything = std::fs::write(closed.join("probe"), b"").is_ok();
    let refused = SqliteStore::open(closed.join("scumble.db"), options()).await.map(|_| ());
    match refused {
        Ok(()) => assert!(may_do_anything),
        Err(error) => assert!(matches!(error, Error::Open { .. } | Error::ReadOnly(_)), "{error}"),
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let place = SqlitePlace::new();
    std::fs::write(place.path(), "not a database, ".repeat(1_000)).expect("a temporary folder can be written");
    let refused = place.open_sqlite(options()).await.map(|_| ());
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_database_is_corrupt() -> Result<()> {
    let place = SqlitePlace::new();
    place.open_sqlite(options()).await?.close().await;
    let mut bytes = std::fs::read(place.path()).expect("a closed database can be read");
    // All but the header.
    bytes[100..].fill(0xaa);
    std::fs::write(place.path(), bytes).expect("a closed database can be written");
    let refused = place.open_sqlite(options()).await.map(|_| ());
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_newer_database_is_left_alone() -> Result<()> {
    let place = SqlitePlace::new();
    place.open_sqlite(options()).await?.close().await;
    let mut conn = SqliteConnectOptions::new().filename(place.path()).connect().await?;
    sqlx::query("INSERT INTO schema_version (version, applied_ms) VALUES (99, 0)").execute(&mut conn).await?;
    let refused = place.open_sqlite(options()).await.map(|_| ());
    assert!(matches!(refused, Err(Error::NewerSchema { found: 99, .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn two_programs_may_make_the_database_at_once() -> Result<()> {
    let place = SqlitePlace::new();
    let (a, b) = tokio::join!(place.open_sqlite(options()), place.open_sqlite(options()));
    let job = a?.enqueue(new_job()).await?;
    assert!(b?.job(job.id).await?.is_some());
    Ok(())
}
