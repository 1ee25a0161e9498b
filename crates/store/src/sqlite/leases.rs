//! Writes on behalf of workers: claim, start, beat, log, finish, release; and taking back what they lost.

use super::steps::{self, Back, Standing};
use super::writer::Tx;
use super::{files, reads};
use crate::{
    Beat, Claim, Claimable, FileRecord, Finish, JobId, Lease, Limits, NewEvent, Outcome, Reclaimed, Release, Result,
    State,
};

pub(super) async fn claim(tx: &mut Tx, claim: Claim) -> Result<Option<Lease>> {
    let Claim { worker, endpoints, lease_ms, per_key: _ } = claim;
    let expires_ms = tx.now_ms.saturating_add(lease_ms);
    let only = match endpoints {
        Claimable::All => None,
        Claimable::Only(list) => Some(steps::to_json("endpoint list", &list)?),
    };
    let claimed = sqlx::query(include_str!("queries/claim.sql"))
        .bind(&worker)
        .bind(expires_ms)
        .bind(tx.now_ms)
        .bind(only)
        .fetch_optional(&mut tx.conn)
        .await?;
    let Some(claimed) = claimed else { return Ok(None) };

    let standing = Standing::from_row(&claimed)?;
    steps::entered(tx, &standing, State::Leased, Some(format!("claimed by {worker}"))).await?;
    let job = reads::known_job(&mut tx.conn, standing.id).await?;
    Ok(Some(Lease { attempt: job.attempt, job, worker, expires_ms }))
}

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

pub(super) async fn start(tx: &mut Tx, token: Token) -> Result<Beat> {
    let Some(job) = held(tx, token).await? else { return Ok(Beat::Lost) };
    if job.state == State::Leased {
        sqlx::query("UPDATE jobs SET state = 'running', started_ms = ?2 WHERE seq = ?1")
            .bind(job.seq)
            .bind(tx.now_ms)
            .execute(&mut tx.conn)
            .await?;
        steps::entered(tx, &job, State::Running, None).await?;
    }
    Ok(alive(&job))
}

pub(super) async fn heartbeat(tx: &mut Tx, token: Token, lease_ms: i64) -> Result<Beat> {
    let Some(job) = held(tx, token).await? else { return Ok(Beat::Lost) };
    sqlx::query("UPDATE jobs SET lease_expires_ms = ?2 WHERE seq = ?1")
        .bind(job.seq)
        .bind(tx.now_ms.saturating_add(lease_ms))
        .execute(&mut tx.conn)
        .await?;
    Ok(alive(&job))
}

pub(super) async fn log(tx: &mut Tx, token: Token, events: Vec<NewEvent>) -> Result<Beat> {
    let Some(job) = held(tx, token).await? else { return Ok(Beat::Lost) };
    for event in &events {
        steps::append(tx, &job, event).await?;
    }
    if !events.is_empty() {
        tx.changes.push(crate::Change::Job(job.id));
    }
    Ok(alive(&job))
}

pub(super) async fn finish(tx: &mut Tx, token: Token, outcome: Outcome, files: Vec<FileRecord>) -> Result<Finish> {
    // Unlike the other words of a worker this one is heard even after its lease was taken away, as long as nobody
    // else has claimed the job: the work is done, and throwing it away would help nobody.
    let job = match Standing::of(tx, token.job_id).await? {
        Some(job) if job.attempt == token.attempt && !job.state.is_end() => job,
        _ => return Ok(Finish::Superseded),
    };
    let state = outcome.end_state(job.cancel.is_some());
    steps::end(tx, &job, state, &outcome, None).await?;
    for file in files {
        files::insert(tx, FileRecord { job_id: Some(job.id), ..file }).await?;
    }
    Ok(Finish::Accepted)
}

pub(super) async fn release(tx: &mut Tx, token: Token, why: Release) -> Result<bool> {
    let Some(job) = held(tx, token).await? else { return Ok(false) };
    let why = match why {
        Release::Drained => Back::Drained,
        Release::Failed { reason, rest_ms: _ } => Back::Failed(reason),
    };
    match &job.cancel {
        Some(outcome) => steps::end(tx, &job, State::Cancelled, outcome, None).await?,
        None => steps::requeue(tx, &job, why).await?,
    }
    Ok(true)
}

pub(super) async fn reclaim_expired(tx: &mut Tx, limits: Limits, set_aside: Outcome) -> Result<Reclaimed> {
    let expired = sqlx::query(include_str!("queries/expired.sql")).bind(tx.now_ms).fetch_all(&mut tx.conn).await?;
    let mut reclaimed = Reclaimed::default();
    for row in &expired {
        reclaim(tx, Standing::from_row(row)?, limits, &set_aside, &mut reclaimed).await?;
    }
    Ok(reclaimed)
}

async fn reclaim(
    tx: &mut Tx,
    mut job: Standing,
    limits: Limits,
    set_aside: &Outcome,
    reclaimed: &mut Reclaimed,
) -> Result<()> {
    let worker = job.worker.as_deref().unwrap_or("unknown");
    let stopped = format!("worker {worker} stopped beating");
    if let Some(outcome) = &job.cancel {
        steps::end(tx, &job, State::Cancelled, outcome, Some(stopped)).await?;
        reclaimed.cancelled.push(job.id);
    } else if job.crashes + 1 >= limits.max_crashes || job.attempt - job.drained >= limits.max_attempts {
        job.crashes += 1;
        let reason = format!("{stopped}; set aside after {} attempts and {} crashes", job.attempt, job.crashes);
        steps::end(tx, &job, set_aside.end_state(false), set_aside, Some(reason)).await?;
        reclaimed.set_aside.push(job.id);
    } else {
        steps::requeue(tx, &job, Back::Crashed(stopped)).await?;
        reclaimed.requeued.push(job.id);
    }
    Ok(())
}

/// The job, if the lease still holds it.
async fn held(tx: &mut Tx, token: Token) -> Result<Option<Standing>> {
    Ok(Standing::of(tx, token.job_id).await?.filter(|job| job.is_held_by(token)))
}

fn alive(job: &Standing) -> Beat {
    Beat::Alive { cancel_requested: job.cancel.is_some() }
}
