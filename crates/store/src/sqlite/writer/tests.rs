use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use scumble_meters::Meters;
use tokio::sync::{Mutex, broadcast};

use super::*;
use crate::{JobId, SystemClock};

/// A writer with a table of numbers, whose commits and flushes are counted and can be made to fail.
struct Bench {
    writer: Arc<Writer>,
    commits: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    flushes: Arc<AtomicUsize>,
    disk: Arc<Disk>,
    changes: broadcast::Receiver<Change>,
}

/// A disk that can be made to take its time, or to break.
#[derive(Default)]
struct Disk {
    broken: AtomicBool,
    /// Held while it is not to flush.
    busy: Mutex<()>,
}

impl Bench {
    fn new() -> Result<Self> {
        let mut conn = Connection::open_in_memory()?;
        conn.execute_batch("CREATE TABLE numbers (number INTEGER NOT NULL)")?;
        let (commits, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, fail) = (commits.clone(), broken.clone());
        conn.commit_hook(Some(move || {
            count.fetch_add(1, Ordering::SeqCst);
            fail.load(Ordering::SeqCst)
        }))?;
        let (flushes, disk) = (Arc::new(AtomicUsize::new(0)), Arc::<Disk>::default());
        let (count, device) = (flushes.clone(), disk.clone());
        let flush = Box::new(move || {
            let _free = device.busy.blocking_lock();
            count.fetch_add(1, Ordering::SeqCst);
            if device.broken.load(Ordering::SeqCst) { Err(std::io::Error::other("it burns")) } else { Ok(()) }
        });
        let (announce, changes) = broadcast::channel(1_000);
        let announce = Box::new(move |change| _ = announce.send(change));
        let writer = Writer::start(conn, flush, Arc::new(SystemClock), announce, Meters::new().store.clone())
            .expect("threads can be started");
        Ok(Self { writer: Arc::new(writer), commits, broken, flushes, disk, changes })
    }

    fn flushes(&self) -> usize {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Inserts these numbers while the writer is busy with something else: all of them stand in line before it takes
    /// the first.
    async fn insert_all(&self, numbers: impl Iterator<Item = i64>) -> Vec<Result<()>> {
        let writes = join_all(numbers.map(|number| self.writer.write(move |tx| insert(tx, number))));
        self.line_up(writes).await
    }

    /// Lets `writes` stand in line while the writer is busy with something else, then lets it go on.
    async fn line_up<T>(&self, writes: impl Future<Output = T>) -> T {
        let (begun, busy_now) = tokio::sync::oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let busy = self.writer.note(move |_| {
            begun.send(()).expect("the test waits");
            Ok(wait.recv().is_ok())
        });
        let others = async {
            // from here on the busy one is taken, and taken alone
            busy_now.await.expect("the writer begins");
            // polled in this order, and without tokio's breaks
            let (results, ()) = tokio::task::unconstrained(async {
                tokio::join!(biased; writes, async { go.send(()).expect("the writer waits") })
            })
            .await;
            results
        };
        let (busy, results) = tokio::join!(busy, others);
        // a commit that is made to fail fails the busy one as well
        let _ = busy;
        results
    }

    async fn count(&self) -> Result<i64> {
        self.writer.write(count).await
    }

    fn announced(&mut self) -> usize {
        std::iter::from_fn(|| self.changes.try_recv().ok()).count()
    }
}

/// Inserts a number and announces it; a negative one fails after that.
fn insert(tx: &mut Tx, number: i64) -> Result<()> {
    tx.conn.run("INSERT INTO numbers VALUES (?1)", [number])?;
    tx.changes.push(Change::Job(JobId::random()));
    if number < 0 { Err(Error::KeyExists(number.to_string())) } else { Ok(()) }
}

fn count(tx: &mut Tx) -> Result<i64> {
    Ok(tx.conn.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))?)
}

#[tokio::test]
async fn writes_at_the_same_time_share_a_commit() -> Result<()> {
    let mut bench = Bench::new()?;
    let results = bench.insert_all(0..100).await;
    assert!(results.iter().all(Result::is_ok));
    // The busy one is a commit too, and nobody was told of it.
    assert_eq!((bench.commits.load(Ordering::SeqCst), bench.flushes()), (2, 1));
    assert_eq!((bench.count().await?, bench.announced()), (100, 100));
    Ok(())
}

#[tokio::test]
async fn only_those_who_are_told_wait_for_the_disk() -> Result<()> {
    let bench = Bench::new()?;
    bench.writer.note(|tx| insert(tx, 1)).await?;
    assert_eq!(bench.flushes(), 0);
    bench.writer.write(|tx| insert(tx, 2)).await?;
    assert_eq!(bench.flushes(), 1);

    let disk = bench.disk.clone();
    let busy = disk.busy.lock().await;
    let writer = bench.writer.clone();
    let told = tokio::spawn(async move { writer.write(|tx| insert(tx, 3)).await });
    // what others do meanwhile does not wait, and they see what is on its way
    while bench.writer.note(count).await? < 3 {}
    let writer = bench.writer.clone();
    let settled = tokio::spawn(async move { writer.settled().await });
    tokio::task::yield_now().await;
    assert!(!settled.is_finished() && !told.is_finished());
    drop(busy);
    settled.await.expect("no panic")?;
    assert_eq!(bench.flushes(), 2);
    told.await.expect("no panic")?;
    bench.writer.settled().await
}

#[tokio::test]
async fn what_is_committed_during_a_flush_shares_the_next_one() -> Result<()> {
    let bench = Bench::new()?;
    let disk = bench.disk.clone();
    let busy = disk.busy.lock().await;
    let mut told = Vec::new();
    for number in 0..20 {
        let writer = bench.writer.clone();
        told.push(tokio::spawn(async move { writer.write(move |tx| insert(tx, number)).await }));
        // each in a commit of its own
        while bench.writer.note(count).await? <= number {}
    }
    drop(busy);
    for told in told {
        told.await.expect("no panic")?;
    }
    // those that the first one had picked up, and all others
    assert!((1..=2).contains(&bench.flushes()), "{} flushes", bench.flushes());
    Ok(())
}

#[tokio::test]
async fn after_a_failed_flush_nothing_is_accepted() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.writer.write(|tx| insert(tx, 1)).await?;
    bench.disk.broken.store(true, Ordering::SeqCst);
    let failed = bench.insert_all(2..12).await;
    assert!(failed.iter().all(|result| matches!(result, Err(Error::Unflushed(_)))), "{failed:?}");
    bench.disk.broken.store(false, Ordering::SeqCst);
    assert!(matches!(bench.writer.write(|tx| insert(tx, 12)).await, Err(Error::Unflushed(_))));
    assert!(matches!(bench.writer.note(|tx| insert(tx, 13)).await, Err(Error::Unflushed(_))));
    assert!(matches!(bench.writer.settled().await, Err(Error::Unflushed(_))));
    assert!(bench.writer.check().is_err());
    // neither flushed again, nor announced
    assert_eq!((bench.flushes(), bench.announced()), (2, 11));
    bench.writer.close().await;
    Ok(())
}

#[tokio::test]
async fn closing_waits_for_the_disk() -> Result<()> {
    let bench = Bench::new()?;
    let disk = bench.disk.clone();
    let busy = disk.busy.lock().await;
    let (writer, closing) = (bench.writer.clone(), bench.writer.clone());
    let told = tokio::spawn(async move { writer.write(|tx| insert(tx, 1)).await });
    while bench.writer.note(count).await? < 1 {}
    let closed = tokio::spawn(async move { closing.close().await });
    tokio::task::yield_now().await;
    assert!(!closed.is_finished() && !told.is_finished());
    drop(busy);
    closed.await.expect("no panic");
    told.await.expect("no panic")
}

#[tokio::test]
async fn a_failed_write_is_undone_alone() -> Result<()> {
    let mut bench = Bench::new()?;
    let results = bench.insert_all((0..100).map(|n| if n % 10 == 0 { -n - 1 } else { n })).await;
    assert_eq!(results.iter().filter(|result| matches!(result, Err(Error::KeyExists(_)))).count(), 10);
    assert_eq!((bench.count().await?, bench.announced()), (90, 90));
    Ok(())
}

#[tokio::test]
async fn a_failed_commit_is_everybodys() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.broken.store(true, Ordering::SeqCst);
    let results = bench.insert_all(0..100).await;
    assert!(results.iter().all(|result| matches!(result, Err(Error::Database(_)))), "{results:?}");
    bench.broken.store(false, Ordering::SeqCst);
    assert_eq!((bench.count().await?, bench.announced()), (0, 0));
    let after = bench.insert_all(1..2).await;
    assert!(matches!(after.as_slice(), [Ok(())]), "{after:?}");
    assert_eq!((bench.count().await?, bench.announced()), (1, 1));
    Ok(())
}
