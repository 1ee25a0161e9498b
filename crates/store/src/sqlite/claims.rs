//! Claiming: which job goes next.

use rusqlite::params;

use super::db::Db;
use super::rows;
use super::steps::{self, Standing};
use super::writer::Tx;
use crate::{Claim, Claimable, Job, Lease, Priority, Result, State};

/// How long a job waits for the worker that served its hint before, counted from its acceptance.
const HINT_WAIT_MS: i64 = 1_000;

/// How long a worker is taken to be warm for a hint it has served.
pub(super) const HINT_KEPT_MS: i64 = 300_000;

/// Takes the next job: wakes the rested, finds out whose turn it is, leases the first of theirs.
pub(super) fn claim(tx: &mut Tx, claim: Claim) -> Result<Option<Lease>> {
    tx.conn.run("UPDATE jobs SET not_before_ms = NULL WHERE state = 'queued' AND not_before_ms <= ?1", [tx.now_ms])?;
    let Claim { worker, endpoints, lease_ms, per_key, start } = claim;
    let only = match endpoints {
        Claimable::All => None,
        Claimable::Only(list) => Some(rows::to_json("endpoint list", &list)?),
    };
    let wanted = Wanted { per_key, only: only.as_deref(), process: process(&worker) };
    let Some(seq) = next(tx, &wanted)? else { return Ok(None) };
    let mut lease = lease(tx, seq, worker, lease_ms)?;
    if start {
        steps::run(tx, &Standing::of_queued(&lease.job))?;
        lease.job = Job { state: State::Running, started_ms: Some(tx.now_ms), ..lease.job };
    }
    Ok(Some(lease))
}

/// What a claim asks of a job.
struct Wanted<'a> {
    /// How many may be at work for one key.
    per_key: Option<u32>,
    /// The endpoints, as a JSON array; all without it.
    only: Option<&'a str>,
    /// Who serves its hint.
    process: &'a str,
}

/// The number of the job that goes next: the first of whoever's turn it is, unless one came before it whose worker went
/// away. That one had its turn.
fn next(tx: &Tx, wanted: &Wanted<'_>) -> Result<Option<i64>> {
    for priority in [Priority::Normal, Priority::Low] {
        let found = [interrupted(tx, priority, wanted)?, next_of(tx, priority, wanted)?];
        if let Some(seq) = found.into_iter().flatten().min() {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// The first job of this priority that was interrupted.
fn interrupted(tx: &Tx, priority: Priority, wanted: &Wanted<'_>) -> Result<Option<i64>> {
    let Wanted { per_key, only, process } = wanted;
    tx.conn.first(
        include_str!("queries/interrupted.sql"),
        params![rows::priority_number(priority), tx.now_ms, only, process, HINT_WAIT_MS, HINT_KEPT_MS, per_key],
        |row| Ok(row.get("seq")?),
    )
}

/// The first job of whoever's turn it is, of this priority.
fn next_of(tx: &Tx, priority: Priority, wanted: &Wanted<'_>) -> Result<Option<i64>> {
    let Wanted { per_key, only, process } = wanted;
    let turns = match priority {
        Priority::Normal => include_str!("queries/turns_normal.sql"),
        Priority::Low => include_str!("queries/turns_low.sql"),
    };
    let mut turns = tx.conn.prepare_cached(turns)?;
    let mut turns = turns.query([per_key])?;
    while let Some(turn) = turns.next()? {
        let key: Option<&str> = Some(rows::text(turn, "key")?).filter(|key| !key.is_empty());
        let head = tx.conn.first(
            include_str!("queries/head.sql"),
            params![key, rows::priority_number(priority), tx.now_ms, only, process, HINT_WAIT_MS, HINT_KEPT_MS],
            |row| Ok(row.get::<_, Option<i64>>("seq")?),
        )?;
        if let Some(seq) = head.flatten() {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Leases the job of this number, which waits.
pub(super) fn lease(tx: &mut Tx, seq: i64, worker: String, lease_ms: i64) -> Result<Lease> {
    let expires_ms = tx.now_ms.saturating_add(lease_ms);
    let claimed = tx.conn.first(include_str!("queries/claim.sql"), params![seq, worker, expires_ms], rows::job)?;
    let job = claimed.ok_or_else(|| rows::unreadable("queue", "a job has vanished"))?;
    steps::entered(tx, &Standing::of_queued(&job), State::Leased, Some(claimed_by(&worker)))?;
    if let Some(hint) = &job.hint {
        tx.conn.run(
            "INSERT INTO hints (hint, process, served_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT (hint) DO UPDATE SET process = excluded.process, served_ms = excluded.served_ms",
            params![hint, process(&worker), tx.now_ms],
        )?;
    }
    Ok(Lease { attempt: job.attempt, job, worker, expires_ms })
}

/// Why a job is leased.
pub(super) fn claimed_by(worker: &str) -> String {
    format!("claimed by {worker}")
}

/// What slots of one worker have in common: `process/slot`.
fn process(worker: &str) -> &str {
    worker.rsplit_once('/').map_or(worker, |(process, _)| process)
}
