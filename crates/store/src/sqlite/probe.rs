//! Proof that the database can be written.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::params;

use super::db::Db;
use super::writer::{Tx, Writer};
use crate::Result;

/// As much as taking up a job writes, and more: a proof that is smaller than the work would prove nothing where the last
/// space is used up.
const ROOM_BYTES: i64 = 32 * 1024;

/// For so long a proof is good: those who ask often should not wear out a disk.
const GOOD: Duration = Duration::from_secs(1);

/// The latest proof.
#[derive(Default)]
pub(super) struct Probe(Mutex<Option<Instant>>);

impl Probe {
    /// Writes, unless that went well a moment ago.
    pub(super) async fn prove(&self, writer: &Writer) -> Result<()> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some_and(|at| at.elapsed() < GOOD) {
            return Ok(());
        }
        writer.write(write).await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }
}

fn write(tx: &mut Tx) -> Result<()> {
    // the same bytes would not be written again
    let sql = "INSERT INTO probe (id, at_ms, room) VALUES (1, ?1, randomblob(?2)) \
               ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms, room = excluded.room";
    tx.conn.run(sql, params![tx.now_ms, ROOM_BYTES]).map(drop)
}
