//! Workers that say that they are there.

use serde_json::Value;
use sqlx::Row;

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::worker::FORGOTTEN_MS;
use crate::{Result, WorkerRecord};

pub(super) async fn announce(store: &PostgresStore, name: &str, about: &Value) -> Result<()> {
    let (now_ms, about) = (store.now_ms(), rows::to_json("about", about)?);
    retried!(
        sqlx::query(
            "WITH forgotten AS (DELETE FROM workers WHERE seen_ms < $4 AND name <> $1) \
             INSERT INTO workers (name, about, since_ms, seen_ms) VALUES ($1, $2, $3, $3) \
             ON CONFLICT (name) DO UPDATE SET about = excluded.about, seen_ms = excluded.seen_ms",
        )
        .bind(plain(name))
        .bind(&about)
        .bind(now_ms)
        .bind(now_ms.saturating_sub(FORGOTTEN_MS))
        .execute(&store.pool)
    )?;
    Ok(())
}

pub(super) async fn retire(store: &PostgresStore, name: &str) -> Result<bool> {
    let gone = retried!(sqlx::query("DELETE FROM workers WHERE name = $1").bind(plain(name)).execute(&store.pool))?;
    Ok(gone.rows_affected() > 0)
}

pub(super) async fn since(store: &PostgresStore, since_ms: i64) -> Result<Vec<WorkerRecord>> {
    let found = retried!(
        sqlx::query("SELECT * FROM workers WHERE seen_ms >= $1 ORDER BY name").bind(since_ms).fetch_all(&store.pool)
    )?;
    let record = |row| -> Result<WorkerRecord> {
        Ok(WorkerRecord {
            name: sqlx::postgres::PgRow::try_get(row, "name")?,
            about: rows::json(row, "about")?,
            since_ms: row.try_get("since_ms")?,
            seen_ms: row.try_get("seen_ms")?,
        })
    };
    found.iter().map(record).collect()
}
