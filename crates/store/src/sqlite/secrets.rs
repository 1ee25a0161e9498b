//! Secrets of the server itself.

use sqlx::{Row, SqliteExecutor};

use super::writer::Tx;
use crate::{Result, SecretBytes, SecretRecord};

pub(super) async fn of_purpose(tx: &mut Tx, purpose: String, first: SecretBytes) -> Result<Vec<SecretRecord>> {
    let found = list(&mut tx.conn, &purpose).await?;
    if found.is_empty() { Ok(vec![add(tx, purpose, first).await?]) } else { Ok(found) }
}

pub(super) async fn list(db: impl SqliteExecutor<'_>, purpose: &str) -> Result<Vec<SecretRecord>> {
    let rows = sqlx::query("SELECT * FROM secrets WHERE purpose = ?1 ORDER BY id").bind(purpose).fetch_all(db).await?;
    let record = |row: &sqlx::sqlite::SqliteRow| {
        let value: Vec<u8> = row.try_get("value")?;
        Ok(SecretRecord {
            id: row.try_get("id")?,
            purpose: row.try_get("purpose")?,
            value: SecretBytes::new(value),
            created_ms: row.try_get("created_ms")?,
        })
    };
    rows.iter().map(record).collect()
}

pub(super) async fn add(tx: &mut Tx, purpose: String, value: SecretBytes) -> Result<SecretRecord> {
    let inserted = sqlx::query("INSERT INTO secrets (purpose, value, created_ms) VALUES (?1, ?2, ?3)")
        .bind(&purpose)
        .bind(value.reveal())
        .bind(tx.now_ms)
        .execute(&mut tx.conn)
        .await?;
    Ok(SecretRecord { id: inserted.last_insert_rowid(), purpose, value, created_ms: tx.now_ms })
}

pub(super) async fn remove(tx: &mut Tx, id: i64) -> Result<bool> {
    let removed = sqlx::query("DELETE FROM secrets WHERE id = ?1").bind(id).execute(&mut tx.conn).await?;
    Ok(removed.rows_affected() > 0)
}
