//! The suite over SQLite, and what is SQLite's own.

mod common;

use std::sync::Arc;

use common::{SqlitePlace, connect, enqueue, new_job, options};
use rusqlite::{Connection, OpenFlags};
use scumble_store::{
    Admission, Claim, Error, Finish, NewJob, Options, Priority, Release, Result, Retention, SqliteStore, State, Store,
    store_suite,
};

store_suite!(SqlitePlace::new());

#[tokio::test]
async fn writes_are_durable_and_space_comes_back() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let conn = connect(&place.path());
    let journal: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let vacuum: i64 = conn.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    const INCREMENTAL: i64 = 2;
    assert_eq!((journal.as_str(), vacuum), ("wal", INCREMENTAL));
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn closing_leaves_one_file() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    enqueue(&store, new_job()).await?;
    store.close().await;
    assert_eq!(place.files(), ["scumble.db"]);
    Ok(())
}

/// A power cut as a disk remembers it: everything up to the last flush, and nothing of what came after.
#[tokio::test]
async fn a_power_cut_takes_back_notes_and_nothing_acknowledged() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let log = place.path().with_extension("db-wal");
    let logged = || std::fs::read(&log).expect("the log is there");
    let accepted = enqueue(&store, new_job()).await?;
    let flushed = logged().len();
    let Some(lease) = store.claim(&Claim { start: true, ..common::claim() }).await? else { panic!("nothing to claim") };
    let (quiet, unheard) = (new_job(), Admission { quiet: true, ..Admission::default() });
    store.enqueue(quiet.clone(), unheard).await?;
    assert!(logged().len() > flushed, "what everybody can read is in the log");

    let cut = SqlitePlace::new();
    std::fs::copy(place.path(), cut.path()).expect("a copy");
    std::fs::write(cut.path().with_extension("db-wal"), &logged()[..flushed]).expect("a copy");
    let after = cut.open_sqlite(options()).await?;
    assert_eq!(after.job(quiet.id).await?, None, "nobody was told of it");
    let again = after.claim(&common::claim()).await?.map(|lease| (lease.job.id, lease.attempt));
    assert_eq!(again, Some((accepted.id, 1)), "it is run once more");
    assert_eq!(after.problems().await?, Vec::<String>::new());

    // The end of one job brings everything before it to the disk.
    assert_eq!(store.finish(&lease, common::cancelled().into()).await?, Finish::Accepted);
    let cut = SqlitePlace::new();
    std::fs::copy(place.path(), cut.path()).expect("a copy");
    std::fs::write(cut.path().with_extension("db-wal"), logged()).expect("a copy");
    let after = cut.open_sqlite(options()).await?;
    assert_eq!(after.job(accepted.id).await?.map(|job| job.state), Some(State::Failed));
    assert_eq!(after.job(quiet.id).await?.map(|job| job.state), Some(State::Queued));
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
                while let Ok(job) = enqueue(&*store, new_job()).await {
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
    let first = enqueue(&store, new_job()).await?;
    let mut big = new_job();
    big.input = serde_json::json!({"image": "x".repeat(1_000_000)});
    // Together, so that they share a commit: the big one fails and takes nobody with it, or nobody is told otherwise.
    let (refused, small) = tokio::join!(enqueue(&store, big), enqueue(&store, new_job()));
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    match small {
        Ok(job) => assert!(store.job(job.id).await?.is_some()),
        Err(error) => assert!(matches!(error, Error::Full(_)), "{error}"),
    }
    assert!(store.job(first.id).await?.is_some());
    let after = enqueue(&store, new_job()).await?;
    assert!(store.job(after.id).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_write_that_fails_spares_its_neighbours() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let taken = enqueue(&store, new_job()).await?;
    let again = || NewJob { id: taken.id, ..new_job() };
    let (a, b, c, d, e) = tokio::join!(
        enqueue(&store, new_job()),
        enqueue(&store, again()),
        enqueue(&store, new_job()),
        enqueue(&store, again()),
        enqueue(&store, new_job()),
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
async fn who_only_looks_makes_no_database() -> Result<()> {
    let place = SqlitePlace::new();
    let looked = async || place.open_sqlite(Options { existing: true, ..options() }).await;
    assert!(matches!(looked().await, Err(Error::Absent)));
    assert_eq!(place.files(), Vec::<String>::new());
    std::fs::write(place.path(), "").expect("a file");
    assert!(matches!(looked().await, Err(Error::Absent)));
    assert_eq!(std::fs::read(place.path()).expect("the file"), b"");
    // another program's stays as it is
    connect(&place.path()).execute_batch("CREATE TABLE theirs (x)")?;
    let theirs = std::fs::read(place.path()).expect("the file");
    assert!(matches!(looked().await, Err(Error::Absent)));
    assert_eq!((std::fs::read(place.path()).expect("the file"), place.files().len()), (theirs, 1));
    std::fs::write(place.path(), "this is not a database, and long enough to be looked at: ".repeat(20))
        .expect("a file");
    assert!(matches!(looked().await, Err(Error::Corrupt(_))));
    std::fs::remove_file(place.path()).expect("the file");

    let job = enqueue(&place.open_sqlite(options()).await?, new_job()).await?;
    assert!(looked().await?.job(job.id).await?.is_some(), "one that is there is opened");
    Ok(())
}

#[tokio::test]
async fn a_locked_database_is_busy() -> Result<()> {
    let place = SqlitePlace::new();
    let impatient = Options { busy_timeout: std::time::Duration::ZERO, ..options() };
    let store = place.open_sqlite(impatient).await?;
    let other = connect(&place.path());
    other.execute_batch("BEGIN IMMEDIATE")?;
    let refused = enqueue(&store, new_job()).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    other.execute_batch("ROLLBACK")?;
    enqueue(&store, new_job()).await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_cannot_be_written_says_so() -> Result<()> {
    let place = SqlitePlace::new();
    place.open_sqlite(options()).await?.close().await;
    // SQLite's own switch, because permissions do not stop every user who may run this test.
    let conn = Connection::open_with_flags(place.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let refused = conn.execute("DELETE FROM keys", []).map_err(Error::from);
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
    connect(&place.path()).execute("INSERT INTO schema_version (version, applied_ms) VALUES (99, 0)", [])?;
    let refused = place.open_sqlite(options()).await.map(|_| ());
    assert!(matches!(refused, Err(Error::NewerSchema { found: 99, .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn two_programs_may_make_the_database_at_once() -> Result<()> {
    let place = SqlitePlace::new();
    let (a, b) = tokio::join!(place.open_sqlite(options()), place.open_sqlite(options()));
    let job = enqueue(&a?, new_job()).await?;
    assert!(b?.job(job.id).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn purged_jobs_give_their_space_back() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    for _ in 0..20 {
        let input = serde_json::json!({"image": "x".repeat(100_000)});
        let job = enqueue(&store, NewJob { input, ..new_job() }).await?;
        store.cancel(job.id, common::cancelled()).await?;
    }
    store.close().await;
    let full = std::fs::metadata(place.path()).expect("it is there").len();

    let store = place.open_sqlite(options()).await?;
    assert_eq!(store.purge(Retention { kept_ms: Some(0), unkept_ms: 0 }, 100).await?, 20);
    store.close().await;
    let left = std::fs::metadata(place.path()).expect("it is there").len();
    assert!(full > 2_000_000 && left < 500_000, "{full} bytes became {left}");
    Ok(())
}

#[tokio::test]
async fn what_waits_is_counted_right() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let some_life = async |key: Option<&str>| {
        let key_id = key.map(str::to_owned);
        for priority in [Priority::Normal, Priority::Low, Priority::Low] {
            enqueue(&store, NewJob { key_id: key_id.clone(), priority, ..new_job() }).await?;
        }
        let claim = common::claim();
        let released = store.claim(&claim).await?.expect("a job waits");
        store.release(&released, Release::Failed { reason: "again".to_owned(), rest_ms: 60_000 }).await?;
        let finished = store.claim(&claim).await?.expect("a job waits");
        store.finish(&finished, common::cancelled().into()).await?;
        store.claim(&claim).await?.expect("a job waits");
        let removed = enqueue(&store, NewJob { key_id, ..new_job() }).await?;
        store.cancel(removed.id, common::cancelled()).await
    };
    for key in [Some("a"), None, Some("b")] {
        some_life(key).await?;
    }

    // What the triggers kept is what counting finds.
    let conn = connect(&place.path());
    let differs = |kept: &str, counted: &str| -> Result<i64> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT * FROM ({kept} EXCEPT {counted}) UNION ALL SELECT * FROM ({counted} EXCEPT {kept}))"
        );
        Ok(conn.query_row(&sql, [], |row| row.get(0))?)
    };
    let waiting = differs(
        "SELECT priority, endpoint, number FROM waiting WHERE number > 0",
        "SELECT priority, endpoint, count(*) FROM jobs WHERE state = 'queued' GROUP BY priority, endpoint",
    )?;
    let turns = differs(
        "SELECT key, at_work, normal, low FROM turns",
        "SELECT coalesce(key_id, ''), sum(state IN ('leased', 'running')), sum(state = 'queued' AND priority = 0), \
         sum(state = 'queued' AND priority = 1) FROM jobs GROUP BY key_id",
    )?;
    assert_eq!((waiting, turns), (0, 0));
    Ok(())
}

/// The mode of a file, without its kind.
#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_made_is_for_its_owner_only() -> Result<()> {
    let place = SqlitePlace::new();
    let path = place.folder().join("new/deep/scumble.db");
    let store = SqliteStore::open(&path, options()).await?;
    store.begin_work("w").await?;
    enqueue(&store, new_job()).await?;
    let beside = |end: &str| std::path::PathBuf::from(format!("{}{end}", path.display()));
    for file in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(file)), 0o600, "{file}");
    }
    for folder in [place.folder().join("new"), place.folder().join("new/deep"), beside("-lives")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    let life = std::fs::read_dir(beside("-lives")).expect("it is there").next().expect("a lock").expect("a lock");
    assert_eq!(mode(&life.path()), 0o600);
    store.close().await;
    assert!(!beside("-lives").exists(), "an orderly end leaves nothing");
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_that_was_replaced_is_not_written() -> Result<()> {
    for end in ["", "-wal"] {
        let place = SqlitePlace::new();
        let store = place.open_sqlite(options()).await?;
        store.prove().await?;
        let path = std::path::PathBuf::from(format!("{}{end}", place.path().display()));
        let away = path.with_extension("away");
        std::fs::rename(&path, &away).expect("it can be moved");
        assert!(matches!(store.prove().await, Err(Error::Replaced { path: named }) if named == path));
        std::fs::write(&path, b"").expect("another one can be put there");
        assert!(matches!(store.prove().await, Err(Error::Replaced { .. })));
        let refused = enqueue(&store, new_job()).await;
        assert!(matches!(refused, Err(Error::Replaced { .. })), "{refused:?}");
        std::fs::rename(&away, &path).expect("it can be put back");
        store.prove().await?;
        enqueue(&store, new_job()).await?;
    }
    Ok(())
}

/// What a process leaves behind that was killed; the one that lives keeps its own.
#[tokio::test]
async fn who_is_gone_is_known_at_once() -> Result<()> {
    let place = SqlitePlace::new();
    let open = async || place.open_sqlite(options()).await;
    let claim = |worker: &str| Claim { worker: format!("{worker}/0"), lease_ms: 1_000_000, ..common::claim() };
    let (killed, alive) = (open().await?, open().await?);
    killed.begin_work("worker-1").await?;
    alive.begin_work("worker-2").await?;
    for _ in 0..3 {
        enqueue(&alive, new_job()).await?;
    }
    let lost = killed.claim(&claim("worker-1")).await?.expect("a job waits");
    let kept = alive.claim(&claim("worker-2")).await?.expect("a job waits");
    let reclaim = async |store: &SqliteStore| store.reclaim_expired(Default::default(), common::cancelled()).await;
    assert_eq!(reclaim(&alive).await?.requeued, []);
    // the system lets go of its locks
    drop(killed);
    let next = open().await?;
    next.begin_work("worker-1").await?;
    assert_eq!(reclaim(&next).await?.requeued, [lost.job.id]);
    assert_eq!(reclaim(&next).await?.requeued, [], "it is buried");
    let again = next.claim(&claim("worker-1")).await?.expect("a job waits");
    assert_eq!((again.job.id, again.attempt), (lost.job.id, 2), "it goes before what came later");
    assert!(matches!(alive.heartbeat(&kept, 1_000).await?, scumble_store::Beat::Alive { .. }));
    Ok(())
}

/// A worker that finds no room to claim is no worker.
#[tokio::test]
async fn claims_that_fail_are_told_to_those_who_wait() -> Result<()> {
    let place = SqlitePlace::new();
    let store = place.open_sqlite(options()).await?;
    let job = enqueue(&store, new_job()).await?;
    let breaker = connect(&place.path());
    breaker.execute_batch("CREATE TRIGGER no_room BEFORE UPDATE ON jobs BEGIN SELECT RAISE(FAIL, 'no room'); END")?;
    let began = std::time::Instant::now();
    while store.stuck().is_none() {
        assert!(store.claim(&common::claim()).await.is_err());
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "it is not told");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(store.prove().await.is_err(), "what cannot take up work is not ready");
    breaker.execute_batch("DROP TRIGGER no_room")?;
    assert_eq!(store.claim(&common::claim()).await?.map(|lease| lease.job.id), Some(job.id));
    assert!(store.stuck().is_none());
    store.prove().await
}

#[tokio::test]
async fn space_is_known() -> Result<()> {
    let place = SqlitePlace::new();
    let free = place.open_sqlite(options()).await?.free_bytes()?;
    assert_eq!(free.is_some_and(|free| free > 0), cfg!(unix));
    Ok(())
}
