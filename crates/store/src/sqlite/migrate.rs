//! Brings a database to the version this program knows.

use sqlx::{Connection, Row, SqliteConnection};

use crate::{Error, Result};

/// The steps from an empty database to the newest: step n leads to version n. A step that was ever released is never
/// edited. Steps first add and only in a later release remove, so that the version before keeps working on the
/// database while it is being replaced.
const STEPS: &[&str] = &[include_str!("migrations/0001_begin.sql"), include_str!("migrations/0002_wire.sql")];

/// The version this program knows.
pub(super) const NEWEST: i64 = STEPS.len() as i64;

/// Takes the steps that the database lacks, all or none. `BEGIN IMMEDIATE` lets one process at a time do it.
pub(super) async fn migrate(conn: &mut SqliteConnection, now_ms: i64) -> Result<()> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL)")
        .execute(&mut *tx)
        .await?;
    let found = version(&mut tx).await?;
    if found > NEWEST {
        return Err(Error::NewerSchema { found, known: NEWEST });
    }
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        sqlx::raw_sql(*step).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO schema_version (version, applied_ms) VALUES (?1, ?2)")
            .bind(version)
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The version of the database; 0 before the first step.
pub(super) async fn version(conn: &mut SqliteConnection) -> Result<i64> {
    let row = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM schema_version").fetch_one(conn).await?;
    Ok(row.try_get("version")?)
}
