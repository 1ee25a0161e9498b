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
const NEWEST: i64 = STEPS.len() as i64;

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
