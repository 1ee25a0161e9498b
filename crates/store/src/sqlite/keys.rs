//! Keys.

use rusqlite::{Connection, params};

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::{Error, KeyRecord, Result};

pub(super) fn create(tx: &mut Tx, id: String, label: String, secret_hash: [u8; 32]) -> Result<KeyRecord> {
    let inserted = tx.conn.run(
        "INSERT INTO keys (id, label, secret_hash, created_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![id, label, secret_hash, tx.now_ms],
    )?;
    match inserted {
        0 => Err(Error::KeyExists(id)),
        _ => Ok(KeyRecord { id, label, created_ms: tx.now_ms, last_used_ms: None, revoked_ms: None }),
    }
}

pub(super) fn revoke(tx: &mut Tx, id: &str) -> Result<bool> {
    let revoke = "UPDATE keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL";
    Ok(tx.conn.run(revoke, params![id, tx.now_ms])? > 0)
}

pub(super) fn touch(tx: &mut Tx, id: &str) -> Result<()> {
    tx.conn.run("UPDATE keys SET last_used_ms = ?2 WHERE id = ?1", params![id, tx.now_ms])?;
    Ok(())
}

pub(super) fn list(db: &Connection) -> Result<Vec<KeyRecord>> {
    db.all("SELECT * FROM keys ORDER BY created_ms, id", [], rows::key)
}

pub(super) fn by_hash(db: &Connection, secret_hash: [u8; 32]) -> Result<Option<KeyRecord>> {
    db.first("SELECT * FROM keys WHERE secret_hash = ?1 AND revoked_ms IS NULL", [secret_hash], rows::key)
}

pub(super) fn by_id(db: &Connection, id: &str) -> Result<Option<KeyRecord>> {
    db.first("SELECT * FROM keys WHERE id = ?1 AND revoked_ms IS NULL", [id], rows::key)
}

pub(super) fn any(db: &Connection) -> Result<bool> {
    Ok(db.first("SELECT 1 FROM keys LIMIT 1", [], |_| Ok(()))?.is_some())
}
