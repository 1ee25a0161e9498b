//! Workers that say that they are there.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::worker::FORGOTTEN_MS;
use crate::{Result, WorkerRecord};

pub(super) fn announce(tx: &mut Tx, name: &str, about: &Value) -> Result<()> {
    tx.conn.run("DELETE FROM workers WHERE seen_ms < ?1", [tx.now_ms.saturating_sub(FORGOTTEN_MS)])?;
    tx.conn.run(
        "INSERT INTO workers (name, about, since_ms, seen_ms) VALUES (?1, ?2, ?3, ?3) \
         ON CONFLICT (name) DO UPDATE SET about = excluded.about, seen_ms = excluded.seen_ms",
        params![name, rows::to_json("about", about)?, tx.now_ms],
    )?;
    Ok(())
}

pub(super) fn retire(tx: &mut Tx, name: &str) -> Result<bool> {
    Ok(tx.conn.run("DELETE FROM workers WHERE name = ?1", [name])? > 0)
}

pub(super) fn since(db: &Connection, since_ms: i64) -> Result<Vec<WorkerRecord>> {
    db.all("SELECT * FROM workers WHERE seen_ms >= ?1 ORDER BY name", [since_ms], |row| {
        Ok(WorkerRecord {
            name: row.get("name")?,
            about: rows::json(row, "about")?,
            since_ms: row.get("since_ms")?,
            seen_ms: row.get("seen_ms")?,
        })
    })
}
