//! Opening a SQLite file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use scumble_meters::Meters;
use tokio::sync::broadcast;

use super::SqliteStore;
use super::db::Db;
use super::errors::about;
use super::flusher::log_beside;
use super::lives::{Lives, private_file, private_folder};
use super::migrate::{migrate, version};
use super::probe::Probe;
use super::readers::Readers;
use super::rush::Rush;
use super::same_file::SameFile;
use super::unwritten::Unwritten;
use super::whose::denied;
use super::writer::{Announce, Writer};
use crate::clock::Setback;
use crate::keyed::Keyed;
use crate::seat::Seats;
use crate::stuck::Stuck;
use crate::{Change, Clock, Error, Result, SystemClock};

/// Changes a receiver may be behind before it misses some.
const CHANGES_KEPT: usize = 1024;

/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS_KEPT: usize = 128;

/// Memory in which the writer keeps pages: ids are random, so that new jobs touch their index everywhere.
const CACHE_KIB: i64 = 32 * 1024;

/// The length of the log, in pages of 4 KiB, from which on it is written back into the database. Longer than usual,
/// because a commit waits for it.
const LOG_PAGES: i64 = 4_000;

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
    /// Whether it has to be there: where there is no database, opening it is [`Error::Absent`] and makes none.
    pub existing: bool,
    /// Where commits and flushes are counted.
    pub meters: Meters,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            readers: 4,
            busy_timeout: Duration::from_secs(10),
            max_bytes: None,
            existing: false,
            meters: Meters::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock: _, readers, busy_timeout, max_bytes, existing, meters: _ } = self;
        write!(f, "Options {{ readers: {readers}, busy_timeout: {busy_timeout:?}, max_bytes: {max_bytes:?}, ")?;
        write!(f, "existing: {existing} }}")
    }
}

impl SqliteStore {
    /// Opens the database in the file at `path`, makes it if it is not there, and brings it to the version this
    /// program knows.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] when it has to be there and is not, [`Error::Denied`] when it is another user's,
    /// [`Error::Open`] when the file or its folder cannot be made, [`Error::Corrupt`] when it is no database,
    /// [`Error::NewerSchema`] when a newer program has written it, [`Error::ReadOnly`], [`Error::Full`] and
    /// [`Error::Busy`] when bringing it up to date fails.
    pub async fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref().to_owned();
        // Opening waits for the disk and perhaps for another process.
        let opened = tokio::task::spawn_blocking(move || open(&path, options)).await;
        opened.map_err(|_| Error::Closed)?
    }
}

fn open(path: &Path, options: Options) -> Result<SqliteStore> {
    let Options { clock, readers, busy_timeout, max_bytes, existing, meters } = options;
    if existing && !is_there(path, busy_timeout)? {
        return Err(Error::Absent);
    }
    make_private(path).map_err(|error| cannot_open(path, &error))?;
    let mut conn = open_writer(path, busy_timeout).map_err(|error| about(path, error))?;
    limit_size(&conn, max_bytes)?;
    migrate(&mut conn, clock.now_ms())?;
    let readers = (0..readers.max(1)).map(|_| open_reader(path, busy_timeout)).collect::<Result<_>>();
    let readers = Readers::new(readers.map_err(|error| about(path, error))?);
    let ((changes, _), seats) = (broadcast::channel(CHANGES_KEPT), Arc::<Seats>::default());
    let start = |conn: Connection, real: &Path| {
        let flush = log_beside(real)?;
        Writer::start(conn, flush, clock.clone(), announce(changes.clone(), seats.clone()), meters.store.clone())
    };
    // as SQLite names it, which follows links
    let real = PathBuf::from(conn.path().unwrap_or_default());
    let writer = start(conn, &real).map_err(|error| cannot_open(path, &error))?;
    let same_file = SameFile::of(path, &real).map_err(|error| cannot_open(path, &error))?;
    let folder = real.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(SqliteStore {
        writer,
        readers,
        clock,
        changes,
        keyed: Keyed::default(),
        setback: Setback::default(),
        rush: Rush::default(),
        seats,
        unwritten: Unwritten::default(),
        stuck: Stuck::default(),
        probe: Probe::default(),
        same_file,
        lives: Arc::new(Lives::beside(&real)),
        file: real,
        folder,
    })
}

/// Tells everybody of changes, and those who wait for work that there is some.
fn announce(changes: broadcast::Sender<Change>, seats: Arc<Seats>) -> Announce {
    Box::new(move |change| {
        if matches!(change, Change::Queued { .. }) {
            seats.call();
        }
        // nobody listening is fine
        let _ = changes.send(change);
    })
}

/// Whether a database of this program is in the file. Only looks: an empty file stays empty, another program's as it is.
pub(super) fn is_there(path: &Path, busy_timeout: Duration) -> Result<bool> {
    if !path.try_exists().map_err(|error| cannot_open(path, &error))? {
        return Ok(false);
    }
    let looked = open_looker(path, busy_timeout).and_then(|db| {
        let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
        Ok(db.first(table, [], |_| Ok(()))?.is_some() && version(&db)? > 0)
    });
    looked.map_err(|error| about(path, error))
}

/// Makes the folder and an empty file where they are missing, for their owner only: secrets are in it. SQLite gives the
/// files beside it the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder != Path::new("") {
        private_folder(folder)?;
    }
    if !path.try_exists()? {
        private_file(path)?;
    }
    Ok(())
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Error {
    denied(path).unwrap_or_else(|| Error::Open { path: path.to_owned(), reason: error.to_string() })
}

fn open_writer(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(path, flags, busy_timeout)?;
    // Lets deleted jobs give their space back, bit by bit. Has to be decided before the first table.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Commits append to the log, which the flusher brings to the disk; before it is written back into the database SQLite
    // flushes it itself, so that the two always fit together.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // What a savepoint remembers has no business on the disk.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES, |_| Ok(()))?;
    Ok(conn)
}

pub(super) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX, busy_timeout)
}

/// For who looks at a file that a server may have open, or nobody: writes nothing. Opened for reading alone it would leave a log
/// behind that it had to begin; so the last one to close it removes the log, as always. Where the file cannot be written SQLite
/// reads it all the same.
pub(super) fn open_looker(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, busy_timeout)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

pub(super) fn connect(path: &Path, flags: OpenFlags, busy_timeout: Duration) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Plans that do not depend on the values: otherwise SQLite prepares a kept statement anew for other values.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.busy_timeout(busy_timeout)?;
    Ok(conn)
}

fn limit_size(conn: &Connection, max_bytes: Option<u64>) -> Result<()> {
    let Some(max_bytes) = max_bytes else { return Ok(()) };
    let page_bytes: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = max_bytes / u64::try_from(page_bytes).unwrap_or(1).max(1);
    let pages = i64::try_from(pages).unwrap_or(i64::MAX);
    conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    Ok(())
}
