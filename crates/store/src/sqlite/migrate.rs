//! Brings a database to the version this program knows.

use rusqlite::{Connection, TransactionBehavior, params};

use super::db::Db;
use crate::{Error, Result};

/// The steps from an empty database to the newest: step n leads to version n. A step that was ever released is never
/// edited. Steps first add and only in a later release remove, so that the version before keeps working on the
/// database while it is being replaced.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_begin.sql"),
    include_str!("migrations/0002_wire.sql"),
    include_str!("migrations/0003_pages.sql"),
    include_str!("migrations/0004_fresh_files.sql"),
    include_str!("migrations/0005_keeping.sql"),
    include_str!("migrations/0006_visits.sql"),
];

/// The version this program knows.
pub(super) const NEWEST: i64 = STEPS.len() as i64;

/// Takes the steps that the database lacks, all or none. `BEGIN IMMEDIATE` lets one process at a time do it.
pub(super) fn migrate(conn: &mut Connection, now_ms: i64) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL)",
    )?;
    let found = version(&tx)?;
    if found > NEWEST {
        return Err(Error::NewerSchema { found, known: NEWEST });
    }
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        tx.execute_batch(step)?;
        tx.execute("INSERT INTO schema_version (version, applied_ms) VALUES (?1, ?2)", params![version, now_ms])?;
    }
    Ok(tx.commit()?)
}

/// The version of the database; 0 before the first step.
pub(super) fn version(conn: &Connection) -> Result<i64> {
    let version = conn.first("SELECT max(version) FROM schema_version", [], |row| Ok(row.get::<_, Option<i64>>(0)?))?;
    Ok(version.flatten().unwrap_or(0))
}

/// Whether a database has the tables of this program, of whichever version, and nothing in it acts by itself that this
/// program has not put there. What somebody added to find things sooner does no harm.
pub(super) fn recognise(db: &Connection) -> Result<()> {
    let has_version = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
    if db.first(has_version, [], |_| Ok(()))?.is_none() {
        return Err(Error::Foreign("it has no table schema_version".to_owned()));
    }
    let found = version(db)?;
    if found > NEWEST {
        return Err(Error::NewerSchema { found, known: NEWEST });
    }
    let ours = schema_of(found)?;
    let theirs = schema(db)?;
    if let Some(lacking) = ours.iter().find(|one| one.kind != "index" && !theirs.contains(one)) {
        return Err(Error::Foreign(format!("its {} {} is not the one of version {found}", lacking.kind, lacking.name)));
    }
    match theirs.iter().find(|one| one.acts() && !ours.contains(one)) {
        Some(one) => Err(Error::Foreign(format!("it has a {} {}, which is not of this program", one.kind, one.name))),
        None => Ok(()),
    }
}

/// Something that a database was told to have.
#[derive(PartialEq, Eq)]
struct Part {
    kind: String,
    name: String,
    sql: String,
}

impl Part {
    /// Whether more happens because of it than is asked for.
    fn acts(&self) -> bool {
        matches!(self.kind.as_str(), "trigger" | "view") || self.sql.to_uppercase().starts_with("CREATE VIRTUAL")
    }
}

/// What a database of this version has.
fn schema_of(version: i64) -> Result<Vec<Part>> {
    let db = Connection::open_in_memory()?;
    db.execute_batch("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL)")?;
    for step in STEPS.iter().take(usize::try_from(version).unwrap_or_default()) {
        db.execute_batch(step)?;
    }
    schema(&db)
}

fn schema(db: &Connection) -> Result<Vec<Part>> {
    // what SQLite makes for itself has no text, or a name of its own
    let sql =
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'";
    db.all(sql, [], |row| Ok(Part { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }))
}
