//! Brings a database to the version this program knows.

use sqlx::{Connection, PgConnection, Row};

use crate::{Error, Result};

/// The steps from an empty schema to the newest: step n leads to version n. A step that was ever released is never
/// edited. Steps first add and only in a later release remove, so that the version before keeps working on the
/// database while it is being replaced.
const STEPS: &[&[&str]] = &[
    &[
        include_str!("migrations/0001_begin.sql"),
        include_str!("migrations/0001_steps.sql"),
        include_str!("migrations/0001_callers.sql"),
        include_str!("migrations/0001_workers.sql"),
    ],
    &[include_str!("migrations/0002_at_work.sql")],
    &[include_str!("migrations/0003_pages.sql")],
    &[include_str!("migrations/0004_last_words.sql")],
    &[include_str!("migrations/0005_keeping.sql")],
    &[include_str!("migrations/0006_visits.sql")],
    &[include_str!("migrations/0007_words.sql")],
];

/// The version this program knows.
const NEWEST: i64 = STEPS.len() as i64;

/// Takes the steps that the database lacks, all or none. The lock lets one process at a time do it.
pub(super) async fn migrate(conn: &mut PgConnection, now_ms: i64) -> Result<()> {
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('scumble migrations ' || current_schema(), 0))")
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY, applied_ms bigint NOT NULL)")
        .execute(&mut *tx)
        .await?;
    let found = version(&mut tx).await?;
    if found > NEWEST {
        return Err(Error::NewerSchema { found, known: NEWEST });
    }
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        for part in *step {
            sqlx::raw_sql(*part).execute(&mut *tx).await?;
        }
        sqlx::query("INSERT INTO schema_version (version, applied_ms) VALUES ($1, $2)")
            .bind::<i64>(version)
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The version of the database; 0 before the first step.
pub(super) async fn version(conn: &mut PgConnection) -> sqlx::Result<i64> {
    let row = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM schema_version").fetch_one(conn).await?;
    row.try_get("version")
}
