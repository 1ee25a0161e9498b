use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
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
    async fn new() -> Result<Self> {
        let mut conn = SqliteConnectOptions::new().filename(":memory:").connect().await?;
        sqlx::query("CREATE TABLE numbers (number INTEGER NOT NULL)").execute(&mut conn).await?;
        let (commits, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, fail) = (commits.clone(), broken.clone());
        conn.lock_handle().await?.set_commit_hook(move || {
            count.fetch_add(1, Ordering::SeqCst);
            !fail.load(Ordering::SeqCst)
        });
        let (announce, changes) = broadcast::channel(1_000);
        let writer = Arc::new(Writer::start(conn, Arc::new(SystemClock), announce));
        Ok(Self { writer, commits, broken, changes })
    }

    /// Inserts these numbers at the same time.
    async fn insert_all(&self, numbers: impl Iterator<Item = i64>) -> Vec<Result<()>> {
        let mut writes = JoinSet::new();
        for number in numbers {
            let writer = self.writer.clone();
            writes.spawn(async move { writer.write(move |tx| Box::pin(insert(tx, number))).await });
        }
        writes.join_all().await
    }

    async fn count(&self) -> Result<i64> {
        self.writer.write(|tx| Box::pin(count(tx))).await
    }

    fn announced(&mut self) -> usize {
        std::iter::from_fn(|| self.changes.try_recv().ok()).count()
    }
}

/// Inserts a number and announces it; a negative one fails after that.
async fn insert(tx: &mut Tx, number: i64) -> Result<()> {
    sqlx::query("INSERT INTO numbers VALUES (?1)").bind(number).execute(&mut tx.conn).await?;
    tx.changes.push(Change::Job(JobId::random()));
    if number < 0 { Err(Error::KeyExists(number.to_string())) } else { Ok(()) }
}

async fn count(tx: &mut Tx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM numbers").fetch_one(&mut tx.conn).await?)
}

#[tokio::test]
async fn writes_at_the_same_time_share_a_commit() -> Result<()> {
    let mut bench = Bench::new().await?;
    let results = bench.insert_all(0..100).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(bench.commits.load(Ordering::SeqCst), 1);
    assert_eq!((bench.count().await?, bench.announced()), (100, 100));
    Ok(())
}

#[tokio::test]
async fn a_failed_write_is_undone_alone() -> Result<()> {
    let mut bench = Bench::new().await?;
    let results = bench.insert_all((0..100).map(|n| if n % 10 == 0 { -n - 1 } else { n })).await;
    assert_eq!(results.iter().filter(|result| matches!(result, Err(Error::KeyExists(_)))).count(), 10);
    assert_eq!((bench.count().await?, bench.announced()), (90, 90));
    Ok(())
}

#[tokio::test]
async fn a_failed_commit_is_everybodys() -> Result<()> {
    let mut bench = Bench::new().await?;
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
