use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::{JobId, SystemClock};

/// A writer with a table of numbers, whose commits are counted and can be made to fail.
struct Bench {
    writer: Arc<Writer>,
    commits: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    changes: broadcast::Receiver<Change>,
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
        let (announce, changes) = broadcast::channel(1_000);
        let writer = Writer::start(conn, Arc::new(SystemClock), announce).expect("a thread can be started");
        Ok(Self { writer: Arc::new(writer), commits, broken, changes })
    }

    /// Inserts these numbers while the writer is busy with something else.
    async fn insert_all(&self, numbers: impl Iterator<Item = i64>) -> Vec<Result<()>> {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let busy = {
            let writer = self.writer.clone();
            tokio::spawn(async move { writer.write(move |_| Ok(wait.recv().is_ok())).await })
        };
        // The channel hands out its places in order, so all of them are in line behind the busy one.
        tokio::task::yield_now().await;
        let mut writes = JoinSet::new();
        for number in numbers {
            let writer = self.writer.clone();
            writes.spawn(async move { writer.write(move |tx| insert(tx, number)).await });
        }
        tokio::task::yield_now().await;
        go.send(()).expect("the writer waits");
        let results = writes.join_all().await;
        let _ = busy.await;
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
    // The busy one changed nothing, which SQLite does not count.
    assert_eq!(bench.commits.load(Ordering::SeqCst), 1);
    assert_eq!((bench.count().await?, bench.announced()), (100, 100));
    Ok(())
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
