//! The steps of a job's life that several writes share: end, requeue, append an event.

use rusqlite::{Row, params};

use super::db::Db;
use super::leases::Token;
use super::writer::Tx;
use super::{deliveries, rows};
use crate::{Change, EventKind, Job, JobId, NewEvent, Outcome, Result, State};

/// What a write has to know of a job before it decides. Nothing else writes meanwhile, so it stays true.
pub(super) struct Standing {
    pub(super) seq: i64,
    pub(super) id: JobId,
    pub(super) endpoint: String,
    pub(super) state: State,
    pub(super) attempt: i64,
    pub(super) drained: i64,
    pub(super) crashes: i64,
    pub(super) worker: Option<String>,
    pub(super) webhook: Option<String>,
    /// The outcome for a cancel that is pending.
    pub(super) cancel: Option<Outcome>,
}

impl Standing {
    /// How job `id` stands.
    pub(super) fn of(tx: &Tx, id: JobId) -> Result<Option<Self>> {
        let sql = concat!(include_str!("queries/standing.sql"), " WHERE id = ?1");
        tx.conn.first(sql, [id.to_string()], Self::from_row)
    }

    /// How a job stands that was in the queue until now: nobody has asked a worker to cancel it.
    pub(super) fn of_queued(job: &Job) -> Self {
        Self {
            seq: job.seq,
            id: job.id,
            endpoint: job.endpoint.clone(),
            state: job.state,
            attempt: job.attempt,
            drained: job.drained,
            crashes: job.crashes,
            worker: None,
            webhook: job.webhook.clone(),
            cancel: None,
        }
    }

    /// A row of `standing.sql`. By number, as [`rows::summary`].
    pub(super) fn from_row(row: &Row<'_>) -> Result<Self> {
        let cancel: Option<String> = row.get(9)?;
        Ok(Self {
            seq: row.get(0)?,
            id: rows::job_id_of(rows::text_at(row, 1, "id")?)?,
            endpoint: row.get(2)?,
            state: rows::state_of(rows::text_at(row, 3, "state")?)?,
            attempt: row.get(4)?,
            drained: row.get(5)?,
            crashes: row.get(6)?,
            worker: row.get(7)?,
            webhook: row.get(8)?,
            cancel: cancel.map(|json| rows::from_json("cancel_outcome", &json)).transpose()?,
        })
    }

    /// Whether this lease is the one that holds the job. It may have expired, as long as nobody took it away.
    pub(super) fn is_held_by(&self, token: Token) -> bool {
        self.attempt == token.attempt && matches!(self.state, State::Leased | State::Running)
    }
}

/// Why a job goes back to the queue.
pub(super) enum Back {
    Drained,
    Failed { reason: String, rest_ms: i64 },
    Crashed(String),
}

/// Ends a job.
pub(super) fn end(tx: &mut Tx, job: &Standing, state: State, outcome: &Outcome, reason: Option<String>) -> Result<()> {
    tx.conn.run(
        "UPDATE jobs \
         SET state = ?2, finished_ms = ?3, crashes = ?4, worker = NULL, lease_expires_ms = NULL, not_before_ms = NULL \
         WHERE seq = ?1",
        params![job.seq, state.as_str(), tx.now_ms, job.crashes],
    )?;
    if job.attempt > 0 {
        tx.conn.run("DELETE FROM events WHERE job_seq = ?1 AND preview = 1", [job.seq])?;
    }
    record_end(tx, job, state, outcome, reason)
}

/// Records what belongs to every end: outcome, delivery, event.
pub(super) fn record_end(
    tx: &mut Tx,
    job: &Standing,
    state: State,
    outcome: &Outcome,
    reason: Option<String>,
) -> Result<()> {
    let Outcome { status, body, headers, error, error_type, inference_ms } = outcome;
    let headers = rows::to_json("outcome headers", headers)?;
    tx.conn.run(
        "INSERT INTO outcomes (job_seq, status, body, headers, error, error_type, inference_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![job.seq, status, body.to_string(), headers, error, error_type, inference_ms],
    )?;
    entered(tx, job, state, reason)?;
    tx.changes.push(Change::Ended(job.id));
    if let Some(url) = &job.webhook {
        deliveries::insert(tx, job.seq, url)?;
    }
    Ok(())
}

/// Puts a job back at its old place in the queue; before everybody's turn where its worker went away.
pub(super) fn requeue(tx: &mut Tx, job: &Standing, why: Back) -> Result<()> {
    let (drained, crashed, rest_ms, reason) = match why {
        Back::Drained => (1, 0, 0, "the worker was shut down".to_owned()),
        Back::Failed { reason, rest_ms } => (0, 0, rest_ms, reason),
        Back::Crashed(reason) => (0, 1, 0, reason),
    };
    let not_before_ms = (rest_ms > 0).then(|| tx.now_ms.saturating_add(rest_ms));
    tx.conn.run(
        "UPDATE jobs \
         SET state = 'queued', drained = ?2, crashes = ?3, worker = NULL, lease_expires_ms = NULL, not_before_ms = ?4, \
             interrupted = ?5 \
         WHERE seq = ?1",
        params![job.seq, job.drained + drained, job.crashes + crashed, not_before_ms, drained + crashed > 0],
    )?;
    tx.changes.push(Change::Queued { endpoint: job.endpoint.clone() });
    entered(tx, job, State::Queued, Some(reason))
}

/// A job that is leased begins to run.
pub(super) fn run(tx: &mut Tx, job: &Standing) -> Result<()> {
    tx.conn.run("UPDATE jobs SET state = 'running', started_ms = ?2 WHERE seq = ?1", [job.seq, tx.now_ms])?;
    entered(tx, job, State::Running, None)
}

/// Records and announces that a job has entered a state.
pub(super) fn entered(tx: &mut Tx, job: &Standing, state: State, reason: Option<String>) -> Result<()> {
    let event = NewEvent { at_ms: tx.now_ms, kind: EventKind::State { state, reason } };
    append(tx, job.seq, job.attempt, &event)?;
    tx.changes.push(Change::Job(job.id));
    Ok(())
}

/// Appends an event of an attempt.
pub(super) fn append(tx: &Tx, job_seq: i64, attempt: i64, event: &NewEvent) -> Result<()> {
    let preview = match event.kind {
        EventKind::Preview { .. } => true,
        EventKind::Log { .. } | EventKind::Progress { .. } | EventKind::State { .. } | EventKind::Submitted { .. } => {
            false
        }
    };
    tx.conn.run(
        "INSERT INTO events (job_seq, attempt, at_ms, data, preview) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![job_seq, attempt, event.at_ms, rows::to_json("event", &event.kind)?, preview],
    )?;
    Ok(())
}
