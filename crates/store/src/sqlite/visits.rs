//! Who is signed in on pages.

use rusqlite::{Connection, params};

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::visit::VISITS_MAX;
use crate::{KeyRecord, Result};

pub(super) fn begin(tx: &mut Tx, word_hash: [u8; 32], key_id: &str, until_ms: i64) -> Result<()> {
    tx.conn.run("DELETE FROM visits WHERE until_ms <= ?1", [tx.now_ms])?;
    tx.conn.run(
        "INSERT INTO visits (word_hash, key_id, until_ms) VALUES (?1, ?2, ?3)",
        params![word_hash, key_id, until_ms],
    )?;
    let beyond = "DELETE FROM visits WHERE key_id = ?1 AND seq <= \
                  (SELECT seq FROM visits WHERE key_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)";
    tx.conn.run(beyond, params![key_id, VISITS_MAX])?;
    Ok(())
}

pub(super) fn key(db: &Connection, word_hash: [u8; 32], now_ms: i64) -> Result<Option<KeyRecord>> {
    let of_visit = "SELECT keys.* FROM visits JOIN keys ON keys.id = visits.key_id \
                    WHERE visits.word_hash = ?1 AND visits.until_ms > ?2 AND keys.revoked_ms IS NULL";
    db.first(of_visit, params![word_hash, now_ms], rows::key)
}

pub(super) fn end(tx: &mut Tx, word_hash: [u8; 32]) -> Result<bool> {
    Ok(tx.conn.run("DELETE FROM visits WHERE word_hash = ?1 AND until_ms > ?2", params![word_hash, tx.now_ms])? > 0)
}
