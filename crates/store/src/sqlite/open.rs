//! Opening a SQLite file, and what SQLite's errors mean.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::broadcast;

use super::SqliteStore;
use super::migrate::migrate;
use super::writer::Writer;
use crate::{Cause, Clock, Error, Result, SystemClock};

/// Changes a receiver may be behind before it misses some.
const CHANGES_KEPT: usize = 1024;

/// How a SQLite file is opened.
#[derive(Clone)]
pub struct Options {
    /// Tells the time of everything that is recorded.
    pub clock: Arc<dyn Clock>,
    /// Connections that read beside the writer; at least one.
    pub readers: u32,
    /// How long to wait while another process writes.
    pub busy_timeout: Duration,
    /// The file may not grow beyond this; further writes fail with [`Error::Full`]. `None`: up to the disk.
    pub max_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), readers: 4, busy_timeout: Duration::from_secs(10), max_bytes: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock: _, readers, busy_timeout, max_bytes } = self;
        write!(f, "Options {{ readers: {readers}, busy_timeout: {busy_timeout:?}, max_bytes: {max_bytes:?} }}")
    }
}

impl SqliteStore {
    /// Opens the database in the file at `path`, makes it if it is not there, and brings it to the version this
    /// program knows.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when the file or its folder cannot be made, [`Error::Corrupt`] when it is no database,
    /// [`Error::NewerSchema`] when a newer program has written it, [`Error::ReadOnly`], [`Error::Full`] and
    /// [`Error::Busy`] when bringing it up to date fails.
    pub async fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        let Options { clock, readers, busy_timeout, max_bytes } = options;
        make_folder(path).await?;

        let common = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(busy_timeout)
            .foreign_keys(true)
            .disable_statement_logging();
        let mut conn = connect_writer(&common).await.map_err(|error| about(path, error))?;
        limit_size(&mut conn, max_bytes).await?;
        migrate(&mut conn, clock.now_ms()).await?;

        let readers = SqlitePoolOptions::new()
            .max_connections(readers.max(1))
            // A connection to a file does not die of old age.
            .test_before_acquire(false)
            .connect_with(common.read_only(true))
            .await
            .map_err(|error| about(path, error))?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let writer = Writer::start(conn, clock.clone(), changes.clone());
        Ok(Self { writer, readers, clock, changes })
    }
}

async fn make_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let made = tokio::fs::create_dir_all(folder).await;
    made.map_err(|error| Error::Open { path: path.to_owned(), reason: error.to_string() })
}

async fn connect_writer(common: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    common
        .clone()
        .create_if_missing(true)
        // Lets deleted jobs give their space back, bit by bit. Has to be decided before the first table.
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would acknowledge commits that a power cut takes back.
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
}

async fn limit_size(conn: &mut SqliteConnection, max_bytes: Option<u64>) -> Result<()> {
    let Some(max_bytes) = max_bytes else { return Ok(()) };
    let page_bytes: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *conn).await?;
    let pages = max_bytes / u64::try_from(page_bytes).unwrap_or(1).max(1);
    // A pragma takes no bound values; a number cannot break out of it.
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).execute(conn).await?;
    Ok(())
}

/// An error while opening: what could not be opened is told with its path.
fn about(path: &Path, error: sqlx::Error) -> Error {
    match sorted(error) {
        Error::Database(error) => Error::Open { path: path.to_owned(), reason: error.to_string() },
        sorted => sorted,
    }
}

/// What an error of SQLite means to whoever has to act on it.
pub(crate) fn sorted(error: sqlx::Error) -> Error {
    let code =
        error.as_database_error().and_then(|error| error.try_downcast_ref::<SqliteError>()).and_then(primary_code);
    if matches!(error, sqlx::Error::PoolClosed) {
        return Error::Closed;
    }
    let error = Cause::new(error);
    match code {
        Some(5 | 6) => Error::Busy(error),      // SQLITE_BUSY, SQLITE_LOCKED
        Some(8) => Error::ReadOnly(error),      // SQLITE_READONLY
        Some(11 | 26) => Error::Corrupt(error), // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(13) => Error::Full(error),         // SQLITE_FULL
        _ => Error::Database(error),
    }
}

/// The low byte of an extended result code tells the kind of error, the rest its circumstances.
fn primary_code(error: &SqliteError) -> Option<i32> {
    use sqlx::error::DatabaseError;
    let extended: i32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}
