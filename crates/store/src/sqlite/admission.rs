//! What has to hold for a job to be accepted. Nobody else writes meanwhile, so it still holds when the job is written.

use std::ops::ControlFlow;

use rusqlite::params;

use super::db::Db;
use super::rows;
use super::rows::priority_number;
use super::writer::Tx;
use super::{calls, reads};
use crate::{Admission, Enqueued, NewJob, Once, Result};

/// Asks in this order: said before, too many waiting, too many at work. A client that repeats itself gets its job however
/// full the queue is by now.
///
/// Goes on with how many jobs of its endpoint go before it, or breaks off with why it may not come in.
pub(super) fn ask(tx: &mut Tx, job: &NewJob, admission: &Admission) -> Result<ControlFlow<Enqueued, u64>> {
    let Admission { max_waiting, max_at_work, once, quiet: _ } = admission;
    if let Some(once) = once
        && let Some(said) = said_before(tx, job, once)?
    {
        return Ok(ControlFlow::Break(said));
    }
    let waiting = waiting(tx, job)?;
    if max_waiting.is_some_and(|max| waiting.in_all > max) {
        return Ok(ControlFlow::Break(Enqueued::TooManyWaiting(waiting.in_all)));
    }
    if let Some(max) = *max_at_work {
        let at_work = at_work(tx, job)?;
        if at_work >= max {
            return Ok(ControlFlow::Break(Enqueued::TooManyAtWork(at_work)));
        }
    }
    Ok(ControlFlow::Continue(waiting.ahead))
}

/// Remembers the word of a job that was accepted.
pub(super) fn remember(tx: &mut Tx, key_id: Option<&str>, once: &Once, job_seq: i64) -> Result<()> {
    tx.conn.run(
        "INSERT INTO words (key, word, digest, job_seq, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key_id.unwrap_or_default(), once.word, once.digest, job_seq, tx.now_ms],
    )?;
    Ok(())
}

fn said_before(tx: &mut Tx, job: &NewJob, once: &Once) -> Result<Option<Enqueued>> {
    let found = tx.conn.first(
        "SELECT jobs.id, words.digest FROM words JOIN jobs ON jobs.seq = words.job_seq WHERE key = ?1 AND word = ?2",
        params![job.key_id.as_deref().unwrap_or_default(), once.word],
        |row| Ok((rows::job_id(row, "id")?, row.get::<_, Vec<u8>>("digest")?)),
    )?;
    let Some((id, digest)) = found else { return Ok(None) };
    if digest != once.digest {
        return Ok(Some(Enqueued::WordReused));
    }
    let job = reads::job(&tx.conn, id)?.ok_or_else(|| calls::without_input(id))?;
    Ok(Some(Enqueued::Repeated(job)))
}

/// How many jobs of an endpoint wait.
struct Waiting {
    /// With whatever priority.
    in_all: u64,
    /// Those that go before a new one.
    ahead: u64,
}

fn waiting(tx: &Tx, job: &NewJob) -> Result<Waiting> {
    let found = tx.conn.first(
        "SELECT coalesce(sum(number), 0) AS in_all, coalesce(sum(number) FILTER (WHERE priority <= ?2), 0) AS ahead \
         FROM waiting WHERE priority IN (0, 1) AND endpoint = ?1",
        params![job.endpoint, priority_number(job.priority)],
        |row| {
            let (in_all, ahead) = (row.get("in_all")?, row.get("ahead")?);
            Ok(Waiting { in_all: rows::number("waiting", in_all)?, ahead: rows::number("waiting", ahead)? })
        },
    )?;
    Ok(found.unwrap_or(Waiting { in_all: 0, ahead: 0 }))
}

fn at_work(tx: &Tx, job: &NewJob) -> Result<u64> {
    let found = tx.conn.first(
        "SELECT at_work FROM turns WHERE key = ?1",
        [job.key_id.as_deref().unwrap_or_default()],
        |row| rows::number("at work", row.get(0)?),
    )?;
    Ok(found.unwrap_or(0))
}
