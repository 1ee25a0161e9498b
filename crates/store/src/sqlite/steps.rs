//! The steps of a job's life that several writes share: end, requeue, append an event.

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::leases::Token;
use super::rows;
use super::writer::Tx;
use crate::{Change, EventKind, JobId, NewEvent, Outcome, Result, State};

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
    /// The outcome for a cancel that is pending.
    pub(super) cancel: Option<Outcome>,
}

impl Standing {
    /// How job `id` stands.
    pub(super) async fn of(tx: &mut Tx, id: JobId) -> Result<Option<Self>> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = ?1").bind(id.to_string()).fetch_optional(&mut tx.conn);
        row.await?.as_ref().map(Self::from_row).transpose()
    }

    pub(super) fn from_row(row: &SqliteRow) -> Result<Self> {
        let cancels = row.try_get::<Option<&str>, _>("cancel_outcome")?.is_some();
        Ok(Self {
            seq: row.try_get("seq")?,
            id: rows::job_id(row, "id")?,
            endpoint: row.try_get("endpoint")?,
            state: rows::state(row)?,
            attempt: row.try_get("attempt")?,
            drained: row.try_get("drained")?,
            crashes: row.try_get("crashes")?,
            worker: row.try_get("worker")?,
            cancel: if cancels { Some(rows::json(row, "cancel_outcome")?) } else { None },
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
    Failed(String),
    Crashed(String),
}

/// Ends a job: final state, outcome, event.
pub(super) async fn end(
    tx: &mut Tx,
    job: &Standing,
    state: State,
    outcome: &Outcome,
    reason: Option<String>,
) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET state = ?2, finished_ms = ?3, crashes = ?4, worker = NULL, lease_expires_ms = NULL \
         WHERE seq = ?1",
    )
    .bind(job.seq)
    .bind(state.as_str())
    .bind(tx.now_ms)
    .bind(job.crashes)
    .execute(&mut tx.conn)
    .await?;
    sqlx::query(
        "INSERT INTO outcomes (job_seq, status, body, headers, error, error_type, inference_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(job.seq)
    .bind(i64::from(outcome.status))
    .bind(outcome.body.to_string())
    .bind(to_json("outcome headers", &outcome.headers)?)
    .bind(&outcome.error)
    .bind(&outcome.error_type)
    .bind(outcome.inference_ms)
    .execute(&mut tx.conn)
    .await?;
    entered(tx, job, state, reason).await
}

/// Puts a job back at its old place in the queue.
pub(super) async fn requeue(tx: &mut Tx, job: &Standing, why: Back) -> Result<()> {
    let (drained, crashed, reason) = match why {
        Back::Drained => (1, 0, "the worker was shut down".to_owned()),
        Back::Failed(reason) => (0, 0, reason),
        Back::Crashed(reason) => (0, 1, reason),
    };
    sqlx::query(
        "UPDATE jobs SET state = 'queued', drained = ?2, crashes = ?3, worker = NULL, lease_expires_ms = NULL \
         WHERE seq = ?1",
    )
    .bind(job.seq)
    .bind(job.drained + drained)
    .bind(job.crashes + crashed)
    .execute(&mut tx.conn)
    .await?;
    tx.changes.push(Change::Queued { endpoint: job.endpoint.clone() });
    entered(tx, job, State::Queued, Some(reason)).await
}

/// Records and announces that a job has entered a state.
pub(super) async fn entered(tx: &mut Tx, job: &Standing, state: State, reason: Option<String>) -> Result<()> {
    let event = NewEvent { at_ms: tx.now_ms, kind: EventKind::State { state, reason } };
    append(tx, job, &event).await?;
    tx.changes.push(Change::Job(job.id));
    Ok(())
}

/// Appends an event of the latest attempt.
pub(super) async fn append(tx: &mut Tx, job: &Standing, event: &NewEvent) -> Result<()> {
    sqlx::query("INSERT INTO events (job_seq, attempt, at_ms, data) VALUES (?1, ?2, ?3, ?4)")
        .bind(job.seq)
        .bind(job.attempt)
        .bind(event.at_ms)
        .bind(to_json("event", &event.kind)?)
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

/// The JSON text of a value that is about to be stored.
pub(super) fn to_json(what: &'static str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| crate::Error::Unreadable { what, reason: error.to_string() })
}
