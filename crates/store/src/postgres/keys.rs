//! Keys.

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::{Error, KeyRecord, Result};

pub(super) async fn create(store: &PostgresStore, id: &str, label: &str, secret_hash: [u8; 32]) -> Result<KeyRecord> {
    let created_ms = store.now_ms();
    let mut maybe_written = false;
    let inserted = retried!(again => {
        maybe_written |= again;
        sqlx::query(
            "INSERT INTO keys (id, label, secret_hash, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(plain(id))
        .bind(plain(label))
        .bind(&secret_hash[..])
        .bind(created_ms)
        .execute(&store.pool)
    })?;
    let made =
        KeyRecord { id: id.to_owned(), label: label.to_owned(), created_ms, last_used_ms: None, revoked_ms: None };
    let written = inserted.rows_affected() > 0
        // Ours: the try before was written, and its answer was lost.
        || maybe_written && by_hash(store, &secret_hash).await?.is_some_and(|found| found == made);
    if written { Ok(made) } else { Err(Error::KeyExists(made.id)) }
}

pub(super) async fn revoke(store: &PostgresStore, id: &str) -> Result<bool> {
    let now_ms = store.now_ms();
    let revoked = retried!(
        sqlx::query("UPDATE keys SET revoked_ms = $2 WHERE id = $1 AND revoked_ms IS NULL")
            .bind(plain(id))
            .bind(now_ms)
            .execute(&store.pool)
    )?;
    Ok(revoked.rows_affected() > 0)
}

pub(super) async fn touch(store: &PostgresStore, id: &str) -> Result<()> {
    let now_ms = store.now_ms();
    retried!(
        sqlx::query("UPDATE keys SET last_used_ms = $2 WHERE id = $1")
            .bind(plain(id))
            .bind(now_ms)
            .execute(&store.pool)
    )?;
    Ok(())
}

pub(super) async fn list(store: &PostgresStore) -> Result<Vec<KeyRecord>> {
    let found = retried!(sqlx::query("SELECT * FROM keys ORDER BY created_ms, id").fetch_all(&store.pool))?;
    found.iter().map(rows::key).collect()
}

pub(super) async fn by_hash(store: &PostgresStore, secret_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
    let row = retried!(
        sqlx::query("SELECT * FROM keys WHERE secret_hash = $1 AND revoked_ms IS NULL")
            .bind(&secret_hash[..])
            .fetch_optional(&store.pool)
    )?;
    row.as_ref().map(rows::key).transpose()
}

pub(super) async fn by_id(store: &PostgresStore, id: &str) -> Result<Option<KeyRecord>> {
    let row = retried!(
        sqlx::query("SELECT * FROM keys WHERE id = $1 AND revoked_ms IS NULL")
            .bind(plain(id))
            .fetch_optional(&store.pool)
    )?;
    row.as_ref().map(rows::key).transpose()
}

pub(super) async fn any(store: &PostgresStore) -> Result<bool> {
    Ok(retried!(sqlx::query("SELECT 1 FROM keys LIMIT 1").fetch_optional(&store.pool))?.is_some())
}
