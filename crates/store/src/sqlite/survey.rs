//! What is in a database, looked at while others write: whether it is intact, how old things are, when they go.
//!
//! Nothing is written, and however much there is, answers are sums or pages.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::db::Db;
use super::errors::about;
use super::files;
use super::known_files::{self, KnownFile};
use super::migrate::{NEWEST, version};
use super::open::{is_there, open_looker};
use crate::{Error, FreshSize, Result, Retention};

/// How long to wait for a process that has the whole file for itself, which is so for moments.
const BUSY: Duration = Duration::from_secs(10);

/// A database that is only looked at.
pub struct Survey {
    db: Connection,
}

/// What is of one age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Age {
    /// Jobs.
    pub jobs: u64,
    /// Bytes of their inputs and results, without the files.
    pub job_bytes: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
}

/// What goes at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Jobs.
    pub jobs: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Survey")
    }
}

impl Survey {
    /// Opens the database in this file. Makes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`], [`Error::NewerSchema`]; [`Error::OlderSchema`]: an older program's database has not all that is
    /// looked at.
    pub fn open(path: &Path) -> Result<Self> {
        if !is_there(path, BUSY)? {
            return Err(Error::Absent);
        }
        let db = open_looker(path, BUSY).map_err(|error| about(path, error))?;
        match version(&db)? {
            found if found > NEWEST => Err(Error::NewerSchema { found, known: NEWEST }),
            found if found < NEWEST => Err(Error::OlderSchema { found, known: NEWEST }),
            _ => Ok(Self { db }),
        }
    }

    /// The same for a database of any version that this program knows, of which only [`knows`](Self::knows) is asked.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when the file cannot be opened.
    pub fn open_any(path: &Path) -> Result<Self> {
        Ok(Self { db: open_looker(path, BUSY).map_err(|error| about(path, error))? })
    }

    /// What SQLite finds wrong, up to `limit` lines, and which rows refer to others that are not there. Reads all of the
    /// file.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn problems(&self, limit: u32) -> Result<Vec<String>> {
        let check = format!("PRAGMA integrity_check({limit})");
        let mut found = self.db.all(&check, [], |row| Ok(row.get::<_, String>(0)?))?;
        found.retain(|line| line != "ok");
        let mut lonely = self.db.prepare("PRAGMA foreign_key_check")?;
        let mut rows = lonely.query([])?;
        while found.len() < limit as usize
            && let Some(row) = rows.next()?
        {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            found.push(format!("a row of {table} belongs to one of {parent} that is not there"));
        }
        Ok(found)
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
        known_files::page(&self.db, NEWEST, after, limit)
    }

    /// Whether there is a row of this file.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn knows(&self, path: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM files WHERE path = ?1";
        Ok(self.db.first(sql, params![path], |_| Ok(()))?.is_some())
    }

    /// Files whose bytes are in the database, and not in their folder yet.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn fresh_size(&self) -> Result<FreshSize> {
        files::fresh_size(&self.db)
    }

    /// The size of the database's pages, and of those among them that are free.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn size(&self) -> Result<(u64, u64)> {
        let pragma =
            |name| Ok::<_, Error>(self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?.unsigned_abs());
        let page = pragma("page_size")?;
        Ok((pragma("page_count")?.saturating_mul(page), pragma("freelist_count")?.saturating_mul(page)))
    }

    /// What was accepted or stored after each of these times, the latest first, and before the one above it; the last is
    /// what is older than all.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn ages(&self, since_ms: &[i64]) -> Result<Vec<Age>> {
        let mut ages = vec![Age::default(); since_ms.len() + 1];
        let older = |column: &str| sorted(since_ms.iter().map(|since| format!("{column} > {since}")));
        let jobs = format!(
            "SELECT {} AS age, count(*) AS number, \
             sum(coalesce(octet_length(input), 0) + coalesce(octet_length(options), 0) \
                 + coalesce(octet_length(body), 0)) AS bytes \
             FROM jobs LEFT JOIN inputs ON inputs.job_seq = jobs.seq LEFT JOIN outcomes ON outcomes.job_seq = jobs.seq \
             GROUP BY age",
            older("jobs.created_ms")
        );
        for (at, number, bytes) in self.sums(&jobs)? {
            (ages[at].jobs, ages[at].job_bytes) = (number, bytes);
        }
        let files = format!(
            "SELECT {} AS age, count(*) AS number, sum(bytes) AS bytes FROM files GROUP BY age",
            older("created_ms")
        );
        for (at, number, bytes) in self.sums(&files)? {
            (ages[at].files, ages[at].file_bytes) = (number, bytes);
        }
        Ok(ages)
    }

    /// What goes up to each of these times, the earliest first, and after the one before it; the last two are what goes
    /// later than all, and what stays. `spares_older` as for [`purge_younger`](crate::Store::purge_younger).
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub fn ends(&self, until_ms: &[i64], retention: Retention, spares_older: bool) -> Result<Vec<End>> {
        let mut ends = vec![End::default(); until_ms.len() + 2];
        let bounds = until_ms.iter().map(|until| format!("end_ms <= {until}"));
        let earlier = sorted(bounds.chain(["end_ms IS NOT NULL".to_owned()]));
        let job_end = job_end(retention, spares_older);
        let jobs =
            format!("SELECT {earlier} AS at, count(*), 0 FROM (SELECT {job_end} AS end_ms FROM jobs) GROUP BY at");
        for (at, number, _) in self.sums(&jobs)? {
            ends[at].jobs = number;
        }
        // who did not want the result kept may have the picture's URL: it works for as long as results are kept
        let kept = retention.kept_ms.map_or_else(|| "NULL".to_owned(), |ms| ms.to_string());
        let files = format!(
            "SELECT {earlier} AS at, count(*), sum(bytes) FROM (SELECT files.bytes AS bytes, \
             CASE WHEN expires_ms IS NOT NULL THEN expires_ms WHEN jobs.seq IS NULL THEN NULL \
             WHEN keep_io THEN {job_end} ELSE {job_end} + {kept} END AS end_ms \
             FROM files LEFT JOIN jobs ON jobs.id = files.job_id) GROUP BY at"
        );
        for (at, number, bytes) in self.sums(&files)? {
            (ends[at].files, ends[at].file_bytes) = (number, bytes);
        }
        Ok(ends)
    }

    /// Rows of a place in a list, a number and bytes.
    fn sums(&self, sql: &str) -> Result<Vec<(usize, u64, u64)>> {
        self.db.all(sql, [], |row| {
            let number = |column| Ok::<_, Error>(row.get::<_, Option<i64>>(column)?.unwrap_or_default().max(0));
            let at = usize::try_from(number(0)?).unwrap_or_default();
            Ok((at, number(1)?.unsigned_abs(), number(2)?.unsigned_abs()))
        })
    }
}

/// The number of the first of these conditions that holds; how many there are where none does.
fn sorted(conditions: impl Iterator<Item = String>) -> String {
    let (mut cases, mut number) = ("CASE".to_owned(), 0);
    for condition in conditions {
        let _ = write!(cases, " WHEN {condition} THEN {number}");
        number += 1;
    }
    let _ = write!(cases, " ELSE {number} END");
    cases
}

/// When a job goes, as an expression; NULL is never, or not before it has ended.
fn job_end(retention: Retention, spares_older: bool) -> String {
    let Retention { kept_ms, unkept_ms } = retention;
    let kept = kept_ms.map_or_else(|| "NULL".to_owned(), |ms| format!("finished_ms + {ms}"));
    let spared = if spares_older { "jobs.seq <= (SELECT through_seq FROM kept_for_ever)" } else { "0" };
    format!("CASE WHEN {spared} THEN NULL WHEN keep_io THEN {kept} ELSE finished_ms + {unkept_ms} END")
}
