//! A copy of a database that others go on writing to, and what is in it.
//!
//! SQLite's own backup copies page by page. The pages are those of one moment: the reading side stays in one transaction
//! from the first to the last, so writers neither wait for it nor make it begin anew.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::db::Db;
use super::errors::about;
use super::known_files::{self, KnownFile};
use super::migrate::{self, NEWEST, version};
use super::open::{connect, is_there, open_looker, open_reader};
use crate::{Error, Result};

/// Pages that are copied between two looks at whether to go on: two megabytes.
const PAGES: i32 = 512;

/// How long to wait for a process that has the whole file for itself, which is so for moments.
const BUSY: Duration = Duration::from_secs(10);

/// What SQLite is to find wrong before it stops looking.
const PROBLEMS: u32 = 20;

/// A copy of a database, nobody else's, at one moment.
pub struct Snapshot {
    db: Connection,
    version: i64,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot(version {})", self.version)
    }
}

impl Snapshot {
    /// Copies the database in the file `from` into the file `to`, which is empty or not there. `go_on` is told how many
    /// bytes of how many are copied, again and again, and says whether to go on; `None` where it said no. Waits for the
    /// disk. What is in `to` after an error is of no use.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] when there is no database of this program, [`Error::NewerSchema`], [`Error::Corrupt`] when
    /// SQLite finds the copy damaged, [`Error::Full`], [`Error::Open`].
    pub fn take(from: &Path, to: &Path, go_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<Option<Self>> {
        if !is_there(from, BUSY)? {
            return Err(Error::Absent);
        }
        let source = open_looker(from, BUSY).map_err(|error| about(from, error))?;
        source.execute_batch("BEGIN")?;
        // the transaction sees what was written up to its first look
        let version = version(&source)?;
        if version > NEWEST {
            return Err(Error::NewerSchema { found: version, known: NEWEST });
        }
        let mut db = open_copy(to).map_err(|error| about(to, error))?;
        if !copy(&source, &mut db, go_on)? {
            return Ok(None);
        }
        // one file, with nothing beside it
        db.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
        let snapshot = Self { db, version };
        snapshot.check()?;
        Ok(Some(snapshot))
    }

    /// Opens a database that is nobody else's, to see whether it can be used: a copy that was made before.
    ///
    /// # Errors
    ///
    /// [`Error::NewerSchema`]; [`Error::Corrupt`] when SQLite finds it damaged; [`Error::Foreign`] when it has not the
    /// tables of this program, or does things on its own that this program knows nothing of.
    pub fn open(path: &Path) -> Result<Self> {
        let db = open_reader(path, BUSY).map_err(|error| about(path, error))?;
        // what a stranger's schema calls is not run
        db.pragma_update(None, "trusted_schema", false)?;
        migrate::recognise(&db)?;
        let version = version(&db)?;
        let snapshot = Self { db, version };
        snapshot.check()?;
        Ok(snapshot)
    }

    /// How many files have rows here, and all of their bytes.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn all_files(&self) -> Result<(u64, u64)> {
        known_files::all(&self.db)
    }

    /// The rows of up to `limit` files behind this path, in the order of their paths.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn files(&self, after: &str, limit: u32) -> Result<Vec<KnownFile>> {
        known_files::page(&self.db, self.version, after, limit)
    }

    /// Removes the rows of these files: they were deleted since.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn forget(&mut self, paths: &[String]) -> Result<()> {
        let tx = self.db.transaction()?;
        for path in paths {
            tx.run("DELETE FROM files WHERE path = ?1", params![path])?;
        }
        Ok(tx.commit()?)
    }

    /// Closes the file.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn close(self) -> Result<()> {
        self.db.close().map_err(|(_, error)| error.into())
    }

    fn check(&self) -> Result<()> {
        let check = format!("PRAGMA quick_check({PROBLEMS})");
        let found = self.db.all(&check, [], |row| Ok(row.get::<_, String>(0)?))?;
        let wrong: Vec<_> = found.into_iter().filter(|line| line != "ok").collect();
        if wrong.is_empty() { Ok(()) } else { Err(Error::Damaged(wrong.join("; "))) }
    }
}

/// Copies all pages; false where `go_on` said no.
fn copy(source: &Connection, db: &mut Connection, go_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<bool> {
    let page: u64 = source.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
    let backup = Backup::new(source, db)?;
    loop {
        let step = backup.step(PAGES)?;
        let progress = backup.progress();
        let (all, left) = (progress.pagecount.max(0).unsigned_abs(), progress.remaining.max(0).unsigned_abs());
        let done = u64::from(all.saturating_sub(left));
        if !go_on(done.saturating_mul(page), u64::from(all).saturating_mul(page)) {
            return Ok(false);
        }
        match step {
            StepResult::Done => return Ok(true),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
    }
}

/// A crash leaves nothing that anybody would use, so nothing is flushed here.
fn open_copy(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = connect(path, flags, BUSY)?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(db)
}
