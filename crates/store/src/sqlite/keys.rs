//! Keys.

use sqlx::SqliteExecutor;

use super::rows;
use super::writer::Tx;
use crate::{Error, KeyRecord, Result};

pub(super) async fn create(tx: &mut Tx, id: String, label: String, secret_hash: [u8; 32]) -> Result<KeyRecord> {
    let inserted = sqlx::query(
        "INSERT INTO keys (id, label, secret_hash, created_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )
    .bind(&id)
    .bind(&label)
    .bind(&secret_hash[..])
    .bind(tx.now_ms)
    .execute(&mut tx.conn)
    .await?;
    match inserted.rows_affected() {
        0 => Err(Error::KeyExists(id)),
        _ => Ok(KeyRecord { id, label, created_ms: tx.now_ms, last_used_ms: None, revoked_ms: None }),
    }
}

pub(super) async fn revoke(tx: &mut Tx, id: String) -> Result<bool> {
    let revoked = sqlx::query("UPDATE keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL")
        .bind(id)
        .bind(tx.now_ms)
        .execute(&mut tx.conn)
        .await?;
    Ok(revoked.rows_affected() > 0)
}

pub(super) async fn touch(tx: &mut Tx, id: String) -> Result<()> {
    sqlx::query("UPDATE keys SET last_used_ms = ?2 WHERE id = ?1")
        .bind(id)
        .bind(tx.now_ms)
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

pub(super) async fn list(db: impl SqliteExecutor<'_>) -> Result<Vec<KeyRecord>> {
    sqlx::query("SELECT * FROM keys ORDER BY created_ms, id").fetch_all(db).await?.iter().map(rows::key).collect()
}

pub(super) async fn by_hash(db: impl SqliteExecutor<'_>, secret_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
    let row = sqlx::query("SELECT * FROM keys WHERE secret_hash = ?1 AND revoked_ms IS NULL")
        .bind(&secret_hash[..])
        .fetch_optional(db)
        .await?;
    row.as_ref().map(rows::key).transpose()
}

pub(super) async fn any(db: impl SqliteExecutor<'_>) -> Result<bool> {
    Ok(sqlx::query("SELECT 1 FROM keys LIMIT 1").fetch_optional(db).await?.is_some())
}
