//! Writes on behalf of callers: accept a job, cancel it, end it unstarted.

use std::ops::ControlFlow;

use rusqlite::params;

use super::admission;
use super::db::Db;
use super::files;
use super::rows::{self, priority_number};
use super::steps::{self, Standing};
use super::writer::Tx;
use crate::{Admission, Cancel, Change, Enqueued, Error, Job, JobId, NewJob, Once, Outcome, Result, State};

pub(super) fn enqueue(tx: &mut Tx, mut new: NewJob, admission: &Admission) -> Result<Enqueued> {
    let position = match admission::ask(tx, &new, admission)? {
        ControlFlow::Continue(position) => position,
        ControlFlow::Break(why) => return Ok(why),
    };
    let given = std::mem::take(&mut new.given);
    let job = Job::accepted(new, 0, tx.now_ms, State::Queued);
    let job = insert(tx, job, admission.once.as_ref())?;
    files::give(tx, job.seq, given)?;
    tx.changes.push(Change::Queued { endpoint: job.endpoint.clone() });
    tx.changes.push(Change::Job(job.id));
    Ok(Enqueued::New { job, position })
}

pub(super) fn enqueue_ended(tx: &mut Tx, mut new: NewJob, admission: &Admission, outcome: Outcome) -> Result<Enqueued> {
    if let ControlFlow::Break(why) = admission::ask(tx, &new, admission)? {
        return Ok(why);
    }
    let given = std::mem::take(&mut new.given);
    let job = Job::accepted(new, 0, tx.now_ms, outcome.end_state(false));
    let job = insert(tx, job, admission.once.as_ref())?;
    files::give(tx, job.seq, given)?;
    steps::record_end(tx, &Standing::of_queued(&job), job.state, &outcome, None)?;
    Ok(Enqueued::New { job: Job { outcome: Some(outcome), ..job }, position: 0 })
}

/// Writes a job as it stands, and numbers it.
pub(super) fn insert(tx: &mut Tx, job: Job, once: Option<&Once>) -> Result<Job> {
    let Job { id, endpoint, input, key_id, priority, start_by_ms, webhook, hint, keep_io, options, .. } = &job;
    let seq = tx.conn.first(
        "INSERT INTO jobs \
         (id, endpoint, key_id, priority, start_by_ms, webhook, hint, keep_io, \
         state, attempt, created_ms, started_ms, finished_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT (id) DO NOTHING RETURNING seq",
        params![
            id.to_string(),
            endpoint,
            key_id,
            priority_number(*priority),
            start_by_ms,
            webhook,
            hint,
            keep_io,
            job.state.as_str(),
            job.attempt,
            job.created_ms,
            job.started_ms,
            job.finished_ms
        ],
        |row| Ok(row.get("seq")?),
    )?;
    let seq = seq.ok_or(Error::JobExists(*id))?;
    tx.conn.run(
        "INSERT INTO inputs (job_seq, input, options) VALUES (?1, ?2, ?3)",
        params![seq, input.to_string(), options.to_string()],
    )?;
    if let Some(once) = once {
        admission::remember(tx, key_id.as_deref(), once, seq)?;
    }
    Ok(Job { seq, ..job })
}

pub(super) fn cancel(tx: &mut Tx, id: JobId, outcome: &Outcome) -> Result<Cancel> {
    let Some(job) = Standing::of(tx, id)? else { return Ok(Cancel::Unknown) };
    match job.state {
        State::Queued => {
            steps::end(tx, &job, State::Cancelled, outcome, None)?;
            Ok(Cancel::Removed)
        }
        State::Leased | State::Running => {
            // Asking twice keeps the first outcome.
            tx.conn.run(
                "UPDATE jobs SET cancel_outcome = coalesce(cancel_outcome, ?2) WHERE seq = ?1",
                params![job.seq, rows::to_json("outcome", outcome)?],
            )?;
            tx.changes.extend([Change::Job(id), Change::Cancelling(id)]);
            Ok(Cancel::Requested)
        }
        State::Done | State::Failed | State::Cancelled => Ok(Cancel::AlreadyEnded),
    }
}

pub(super) fn end_unstarted(tx: &mut Tx, id: JobId, outcome: &Outcome) -> Result<bool> {
    match Standing::of(tx, id)? {
        Some(job) if job.state == State::Queued => {
            steps::end(tx, &job, outcome.end_state(false), outcome, None)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// A job that is there has an input.
pub(super) fn without_input(id: JobId) -> Error {
    rows::unreadable("job", format!("{id} has no input"))
}
