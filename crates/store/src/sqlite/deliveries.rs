//! Webhooks on their way.

use rusqlite::{Connection, params};

use super::db::Db;
use super::rows;
use super::writer::Tx;
use crate::{Change, Delivery, DeliveryAttempt, DeliveryLease, DeliveryRecord, JobId, NextDelivery, Result};

/// Records that a job's outcome is to be delivered, from now on.
pub(super) fn insert(tx: &mut Tx, job_seq: i64, url: &str) -> Result<()> {
    tx.conn.run(
        "INSERT INTO deliveries (job_seq, url, next_ms, created_ms) VALUES (?1, ?2, ?3, ?3)",
        params![job_seq, url, tx.now_ms],
    )?;
    tx.changes.push(Change::Delivery);
    Ok(())
}

pub(super) fn claim(tx: &mut Tx, limit: u32, lease: DeliveryLease) -> Result<Vec<Delivery>> {
    let [first_ms, later_ms] = [lease.first_ms, lease.later_ms].map(|ms| tx.now_ms.saturating_add(ms));
    let claim = include_str!("queries/claim_deliveries.sql");
    tx.conn.all(claim, params![tx.now_ms, limit, first_ms, later_ms], rows::delivery)
}

pub(super) fn attempted(tx: &mut Tx, delivery: &Delivery, log: &DeliveryAttempt, next: NextDelivery) -> Result<bool> {
    let (state, next_ms) = match next {
        NextDelivery::Delivered => ("delivered", None),
        NextDelivery::GivenUp => ("failed", None),
        NextDelivery::At(at_ms) => ("pending", Some(at_ms)),
    };
    let updated = tx.conn.run(
        "UPDATE deliveries SET state = ?3, next_ms = ?4 WHERE id = ?1 AND attempt = ?2 AND state = 'pending'",
        params![delivery.id, delivery.attempt, state, next_ms],
    )?;
    if updated == 0 {
        return Ok(false);
    }
    let DeliveryAttempt { at_ms, duration_ms, status, error } = log;
    tx.conn.run(
        "INSERT INTO delivery_attempts (delivery_id, at_ms, duration_ms, status, error) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![delivery.id, at_ms, duration_ms, status, error],
    )?;
    Ok(true)
}

pub(super) fn redeliver(tx: &mut Tx, id: JobId) -> Result<bool> {
    let webhook = tx.conn.first(
        "SELECT seq, webhook FROM jobs WHERE id = ?1 AND finished_ms IS NOT NULL AND webhook IS NOT NULL",
        [id.to_string()],
        |row| Ok((row.get("seq")?, row.get::<_, String>("webhook")?)),
    )?;
    let Some((job_seq, url)) = webhook else { return Ok(false) };
    insert(tx, job_seq, &url)?;
    Ok(true)
}

pub(super) fn next_ms(db: &Connection) -> Result<Option<i64>> {
    let next = "SELECT min(next_ms) FROM deliveries WHERE next_ms IS NOT NULL";
    Ok(db.first(next, [], |row| Ok(row.get(0)?))?.flatten())
}

pub(super) fn of_job(db: &Connection, id: JobId) -> Result<Vec<DeliveryRecord>> {
    let of_job = "SELECT deliveries.* FROM jobs JOIN deliveries ON deliveries.job_seq = jobs.seq \
                  WHERE jobs.id = ?1 ORDER BY deliveries.id";
    db.all(of_job, [id.to_string()], |row| {
        let id = row.get("id")?;
        Ok(DeliveryRecord {
            id,
            url: row.get("url")?,
            state: rows::delivery_state(row)?,
            next_ms: row.get("next_ms")?,
            log: log(db, id)?,
        })
    })
}

fn log(db: &Connection, delivery_id: i64) -> Result<Vec<DeliveryAttempt>> {
    let log = "SELECT * FROM delivery_attempts WHERE delivery_id = ?1 ORDER BY id";
    db.all(log, [delivery_id], rows::delivery_attempt)
}
