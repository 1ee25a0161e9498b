use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;

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
    // The busy one changed nothing, which SQLite does not count.
    assert_eq!(bench.commits.load(Ordering::SeqCst), 1);
    assert_eq!((bench.count().await?, bench.announced()), (100, 100));
    Ok(())
}

/// What SQLite calls the levels at which a commit waits for the disk.
const NORMAL: i64 = 1;
const FULL: i64 = 2;

fn level(tx: &mut Tx) -> Result<i64> {
    Ok(tx.conn.pragma_query_value(None, SYNCHRONOUS, |row| row.get(0))?)
}

#[tokio::test]
async fn a_commit_waits_for_the_disk_where_somebody_is_told() -> Result<()> {
    let bench = Bench::new()?;
    assert_eq!(bench.writer.note(level).await?, NORMAL);
    assert_eq!(bench.writer.write(level).await?, FULL);
    assert_eq!(bench.writer.note(level).await?, NORMAL);
    assert_eq!(bench.writer.note(level).await?, NORMAL);
    let three = bench
        .line_up(async {
            tokio::join!(biased; bench.writer.note(level), bench.writer.write(level), bench.writer.note(level))
        })
        .await;
    assert_eq!((three.0?, three.1?, three.2?), (FULL, FULL, FULL));
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
