//! Writes on behalf of workers that hold a lease: start, beat, log, finish, release; and taking back what they lost.

use rusqlite::params;

use super::db::Db;
use super::files;
use super::steps::{self, Back, Standing};
use super::writer::Tx;
use crate::clock::{FAR_MS, Shift};
use crate::{
    Beat, Change, FileRecord, Finish, FreshFile, JobId, Lease, Limits, NewEvent, Outcome, Product, Reclaimed, Release,
    Result, State,
};

/// The jobs whose lease has expired.
pub(super) const EXPIRED: &str = concat!(include_str!("queries/standing.sql"), include_str!("queries/expired.sql"));

/// What identifies a lease: its job and its attempt. The rest of a [`Lease`], such as megabytes of input, has no
/// business in a write.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) job_id: JobId,
    pub(super) attempt: i64,
}

impl From<&Lease> for Token {
    fn from(lease: &Lease) -> Self {
        Self { job_id: lease.job.id, attempt: lease.attempt }
    }
}

pub(super) fn start(tx: &mut Tx, token: Token) -> Result<Beat> {
    let Some(job) = held(tx, token)? else { return Ok(Beat::Lost) };
    // otherwise it was said before
    if job.state == State::Leased {
        steps::run(tx, &job)?;
    }
    Ok(alive(&job))
}

pub(super) fn heartbeat(tx: &mut Tx, token: Token, lease_ms: i64) -> Result<Beat> {
    let Some(job) = held(tx, token)? else { return Ok(Beat::Lost) };
    let expires_ms = tx.now_ms.saturating_add(lease_ms);
    tx.conn.run("UPDATE jobs SET lease_expires_ms = ?2 WHERE seq = ?1", [job.seq, expires_ms])?;
    Ok(alive(&job))
}

pub(super) fn log(tx: &mut Tx, token: Token, events: &[NewEvent]) -> Result<Beat> {
    let Some(job) = held(tx, token)? else { return Ok(Beat::Lost) };
    say(tx, &job, events)?;
    if !events.is_empty() {
        tx.changes.push(Change::Job(job.id));
    }
    Ok(alive(&job))
}

pub(super) fn finish(tx: &mut Tx, token: Token, product: Product) -> Result<Finish> {
    // Unlike the other words of a worker this one is heard even after its lease was taken away, as long as nobody
    // else has claimed the job: the work is done, and throwing it away would help nobody.
    let job = match Standing::of(tx, token.job_id)? {
        Some(job) if job.attempt == token.attempt && !job.state.is_end() => job,
        _ => return Ok(Finish::Superseded),
    };
    let Product { outcome, files, fresh, last_words } = product;
    if job.is_held_by(token) {
        say(tx, &job, &last_words)?;
    }
    let state = outcome.end_state(job.cancel.is_some());
    steps::end(tx, &job, state, &outcome, None)?;
    record_files(tx, job.id, files, &fresh)?;
    Ok(Finish::Accepted)
}

/// What the run of a job leaves that is written as ended from its first moment.
pub(super) fn leave_behind(tx: &mut Tx, job: &Standing, product: Product) -> Result<()> {
    let Product { outcome, files, fresh, last_words } = product;
    say(tx, job, &last_words)?;
    steps::record_end(tx, job, job.state, &outcome, None)?;
    record_files(tx, job.id, files, &fresh)
}

fn say(tx: &Tx, job: &Standing, words: &[NewEvent]) -> Result<()> {
    words.iter().try_for_each(|word| steps::append(tx, job.seq, job.attempt, word))
}

fn record_files(tx: &mut Tx, job: JobId, files: Vec<FileRecord>, fresh: &[FreshFile]) -> Result<()> {
    files.into_iter().try_for_each(|file| files::insert(tx, FileRecord { job_id: Some(job), ..file }))?;
    fresh.iter().try_for_each(|file| files::keep(tx, file))
}

pub(super) fn release(tx: &mut Tx, token: Token, why: Release) -> Result<bool> {
    let Some(job) = held(tx, token)? else { return Ok(false) };
    let why = match why {
        Release::Drained => Back::Drained,
        Release::Failed { reason, rest_ms } => Back::Failed { reason, rest_ms },
    };
    match &job.cancel {
        Some(outcome) => steps::end(tx, &job, State::Cancelled, outcome, None)?,
        None => steps::requeue(tx, &job, why)?,
    }
    Ok(true)
}

/// Brings nearer what lies too far ahead, because the clock was set back.
pub(super) fn shift(tx: &Tx, shift: Shift) -> Result<()> {
    let Shift { now_ms, beyond_ms, by_ms } = shift;
    for query in [
        include_str!("queries/shift_leases.sql"),
        include_str!("queries/shift_rests.sql"),
        include_str!("queries/shift_deliveries.sql"),
    ] {
        let (beyond, furthest) = (now_ms.saturating_add(beyond_ms), now_ms.saturating_add(FAR_MS));
        tx.conn.run(query, [now_ms, beyond, by_ms, furthest])?;
    }
    Ok(())
}

/// Ends the leases of a process that is gone.
pub(super) fn expire(tx: &Tx, process: &str) -> Result<()> {
    tx.conn.run(include_str!("queries/expire_leases.sql"), params![tx.now_ms, process]).map(drop)
}

pub(super) fn reclaim_expired(tx: &mut Tx, limits: Limits, set_aside: &Outcome) -> Result<Reclaimed> {
    let expired = tx.conn.all(EXPIRED, [tx.now_ms], Standing::from_row)?;
    let mut reclaimed = Reclaimed::default();
    for job in expired {
        reclaim(tx, job, limits, set_aside, &mut reclaimed)?;
    }
    Ok(reclaimed)
}

fn reclaim(
    tx: &mut Tx,
    mut job: Standing,
    limits: Limits,
    set_aside: &Outcome,
    reclaimed: &mut Reclaimed,
) -> Result<()> {
    let worker = job.worker.as_deref().unwrap_or("unknown");
    let stopped = format!("worker {worker} gave no more signs of life");
    if let Some(outcome) = &job.cancel {
        steps::end(tx, &job, State::Cancelled, outcome, Some(stopped))?;
        reclaimed.cancelled.push(job.id);
    } else if job.crashes + 1 >= limits.max_crashes || job.attempt - job.drained >= limits.max_attempts {
        job.crashes += 1;
        let reason = format!("{stopped}; set aside after {} attempts and {} crashes", job.attempt, job.crashes);
        steps::end(tx, &job, set_aside.end_state(false), set_aside, Some(reason))?;
        reclaimed.set_aside.push(job.id);
    } else {
        steps::requeue(tx, &job, Back::Crashed(stopped))?;
        reclaimed.requeued.push(job.id);
    }
    Ok(())
}

/// The job, if the lease still holds it.
fn held(tx: &Tx, token: Token) -> Result<Option<Standing>> {
    Ok(Standing::of(tx, token.job_id)?.filter(|job| job.is_held_by(token)))
}

fn alive(job: &Standing) -> Beat {
    Beat::Alive { cancel_requested: job.cancel.is_some() }
}
