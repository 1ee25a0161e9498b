//! Writes on behalf of callers: accept a job, cancel it, end it unstarted.

use super::reads;
use super::rows::priority_number;
use super::steps::{self, Standing};
use super::writer::Tx;
use crate::{Admission, Cancel, Change, Enqueued, Error, Job, JobId, NewJob, Outcome, Result, State};

pub(super) async fn enqueue(tx: &mut Tx, new: NewJob, _admission: Admission) -> Result<Enqueued> {
    let job = insert(tx, new).await?;
    let position = reads::position(&mut tx.conn, job.id).await?.unwrap_or(0);
    Ok(Enqueued::New { job, position })
}

pub(super) async fn enqueue_ended(
    tx: &mut Tx,
    new: NewJob,
    _admission: Admission,
    outcome: Outcome,
) -> Result<Enqueued> {
    let id = insert(tx, new).await?.id;
    end_unstarted(tx, id, outcome).await?;
    Ok(Enqueued::New { job: reads::known_job(&mut tx.conn, id).await?, position: 0 })
}

async fn insert(tx: &mut Tx, new: NewJob) -> Result<Job> {
    let NewJob { id, endpoint, input, key_id, priority, start_by_ms, webhook, hint, keep_io, options } = new;
    let inserted = sqlx::query(
        "INSERT INTO jobs (id, endpoint, key_id, priority, start_by_ms, state, created_ms, hint, keep_io) \
         VALUES (?1, ?2, ?3, ?4, ?5, 'queued', ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(&endpoint)
    .bind(&key_id)
    .bind(priority_number(priority))
    .bind(start_by_ms)
    .bind(tx.now_ms)
    .bind(&hint)
    .bind(keep_io)
    .execute(&mut tx.conn)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Error::JobExists(id));
    }
    let seq = inserted.last_insert_rowid();
    sqlx::query("INSERT INTO inputs (job_seq, input, options, webhook) VALUES (?1, ?2, ?3, ?4)")
        .bind(seq)
        .bind(input.to_string())
        .bind(options.to_string())
        .bind(&webhook)
        .execute(&mut tx.conn)
        .await?;
    tx.changes.push(Change::Queued { endpoint: endpoint.clone() });
    tx.changes.push(Change::Job(id));
    Ok(Job {
        id,
        seq,
        endpoint,
        input,
        key_id,
        priority,
        start_by_ms,
        not_before_ms: None,
        webhook,
        hint,
        keep_io,
        options,
        state: State::Queued,
        attempt: 0,
        drained: 0,
        crashes: 0,
        created_ms: tx.now_ms,
        started_ms: None,
        finished_ms: None,
        cancel_requested: false,
        outcome: None,
    })
}

pub(super) async fn cancel(tx: &mut Tx, id: JobId, outcome: Outcome) -> Result<Cancel> {
    let Some(job) = Standing::of(tx, id).await? else { return Ok(Cancel::Unknown) };
    match job.state {
        State::Queued => {
            steps::end(tx, &job, State::Cancelled, &outcome, None).await?;
            Ok(Cancel::Removed)
        }
        State::Leased | State::Running => {
            // Asking twice keeps the first outcome.
            sqlx::query("UPDATE jobs SET cancel_outcome = coalesce(cancel_outcome, ?2) WHERE seq = ?1")
                .bind(job.seq)
                .bind(steps::to_json("outcome", &outcome)?)
                .execute(&mut tx.conn)
                .await?;
            tx.changes.push(Change::Job(id));
            Ok(Cancel::Requested)
        }
        State::Done | State::Failed | State::Cancelled => Ok(Cancel::AlreadyEnded),
    }
}

pub(super) async fn end_unstarted(tx: &mut Tx, id: JobId, outcome: Outcome) -> Result<bool> {
    match Standing::of(tx, id).await? {
        Some(job) if job.state == State::Queued => {
            steps::end(tx, &job, outcome.end_state(false), &outcome, None).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
