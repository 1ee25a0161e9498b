//! Secrets of the server itself.

use rusqlite::{Connection, params};

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::{Result, SecretBytes, SecretRecord};

pub(super) fn of_purpose(tx: &mut Tx, purpose: String, first: SecretBytes) -> Result<Vec<SecretRecord>> {
    let found = list(&tx.conn, &purpose)?;
    if found.is_empty() { Ok(vec![add(tx, purpose, first)?]) } else { Ok(found) }
}

pub(super) fn list(db: &Connection, purpose: &str) -> Result<Vec<SecretRecord>> {
    db.all("SELECT * FROM secrets WHERE purpose = ?1 ORDER BY id", [purpose], rows::secret)
}

pub(super) fn add(tx: &mut Tx, purpose: String, value: SecretBytes) -> Result<SecretRecord> {
    tx.conn.run(
        "INSERT INTO secrets (purpose, value, created_ms) VALUES (?1, ?2, ?3)",
        params![purpose, value.reveal(), tx.now_ms],
    )?;
    Ok(SecretRecord { id: tx.conn.last_insert_rowid(), purpose, value, created_ms: tx.now_ms })
}

pub(super) fn remove(tx: &mut Tx, id: i64) -> Result<bool> {
    Ok(tx.conn.run("DELETE FROM secrets WHERE id = ?1", [id])? > 0)
}
