//! Secrets of the server itself.

use sqlx::PgExecutor;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::{Result, SecretBytes, SecretRecord};

pub(super) async fn of_purpose(store: &PostgresStore, purpose: &str, first: &SecretBytes) -> Result<Vec<SecretRecord>> {
    let mut found = retried!(list(&store.pool, purpose))?;
    if found.is_empty() {
        found = retried!(list_or_begin(store, purpose, first))?;
    }
    found.iter().map(rows::secret).collect()
}

/// Everybody who asks at the same time waits for the first to have made it.
async fn list_or_begin(store: &PostgresStore, purpose: &str, first: &SecretBytes) -> sqlx::Result<Vec<PgRow>> {
    let now_ms = store.now_ms();
    let mut tx = store.pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(lock_number('secrets', $1))")
        .bind(plain(purpose))
        .execute(&mut *tx)
        .await?;
    let mut found = list(&mut *tx, purpose).await?;
    if found.is_empty() {
        found.push(insert(&mut *tx, purpose, first, now_ms).await?);
    }
    tx.commit().await?;
    Ok(found)
}

async fn list(db: impl PgExecutor<'_>, purpose: &str) -> sqlx::Result<Vec<PgRow>> {
    sqlx::query("SELECT * FROM secrets WHERE purpose = $1 ORDER BY id").bind(plain(purpose)).fetch_all(db).await
}

async fn insert(db: impl PgExecutor<'_>, purpose: &str, value: &SecretBytes, now_ms: i64) -> sqlx::Result<PgRow> {
    sqlx::query("INSERT INTO secrets (purpose, value, created_ms) VALUES ($1, $2, $3) RETURNING *")
        .bind(plain(purpose))
        .bind(value.reveal())
        .bind(now_ms)
        .fetch_one(db)
        .await
}

pub(super) async fn add(store: &PostgresStore, purpose: &str, value: &SecretBytes) -> Result<SecretRecord> {
    let now_ms = store.now_ms();
    let row = retried!(insert(&store.pool, purpose, value, now_ms))?;
    rows::secret(&row)
}

pub(super) async fn remove(store: &PostgresStore, id: i64) -> Result<bool> {
    let removed = retried!(sqlx::query("DELETE FROM secrets WHERE id = $1").bind(id).execute(&store.pool))?;
    Ok(removed.rows_affected() > 0)
}
