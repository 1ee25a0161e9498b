//! Writes on behalf of callers: accept a job, cancel it, end it unstarted.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::ending::Ending;
use super::errors::retried;
use super::leases::Files;
use super::rows::{self, plain, priority_number};
use super::{PostgresStore, reads};
use crate::{Admission, Cancel, Change, Enqueued, Error, Job, JobId, NewJob, Once, Outcome, Result, State};

/// Limits from here on are counted strictly at once: nobody is ever far from them.
const STRICT_BELOW: u64 = 2_000;

pub(super) async fn enqueue(store: &PostgresStore, new: NewJob, admission: &Admission) -> Result<Enqueued> {
    let enqueued = accept(store, new, admission, None).await?;
    if let Enqueued::New { job, .. } = &enqueued {
        store.announce(Change::Queued { endpoint: job.endpoint.clone() });
        store.announce(Change::Job(job.id));
    }
    Ok(enqueued)
}

pub(super) async fn enqueue_ended(
    store: &PostgresStore,
    new: NewJob,
    admission: &Admission,
    outcome: Outcome,
) -> Result<Enqueued> {
    let enqueued = accept(store, new, admission, Some(outcome)).await?;
    if let Enqueued::New { job, .. } = &enqueued {
        store.announce_end(job.id, job.webhook.is_some());
    }
    Ok(enqueued)
}

async fn accept(
    store: &PostgresStore,
    new: NewJob,
    admission: &Admission,
    outcome: Option<Outcome>,
) -> Result<Enqueued> {
    let now_ms = store.now_ms();
    let mut strict = admission.max_waiting.is_some_and(|limit| limit < STRICT_BELOW);
    loop {
        let (again, row) = ask(store, &new, admission, outcome.as_ref(), now_ms, strict).await?;
        let number = || rows::number("number of jobs", row.try_get::<i64, _>("number")?);
        return match row.try_get("verdict")? {
            "new" => {
                let state = outcome.as_ref().map_or(State::Queued, |outcome| outcome.end_state(false));
                let job = Job { outcome, ..Job::accepted(new, row.try_get("accepted")?, now_ms, state) };
                Ok(Enqueued::New { job, position: number()? })
            }
            // Ours: the try before was written, and its answer was lost.
            "exists" if again => {
                let position = reads::position(store, new.id).await?.unwrap_or(0);
                Ok(Enqueued::New { job: reads::known_job(store, new.id).await?, position })
            }
            "repeated" => {
                let earlier = rows::job_id(&row, "earlier")?;
                let job = reads::known_job(store, earlier).await?;
                if again && earlier == new.id {
                    let position = reads::position(store, new.id).await?.unwrap_or(0);
                    return Ok(Enqueued::New { job, position });
                }
                Ok(Enqueued::Repeated(job))
            }
            "exists" => Err(Error::JobExists(new.id)),
            "word_reused" => Ok(Enqueued::WordReused),
            "waiting" => Ok(Enqueued::TooManyWaiting(number()?)),
            "at_work" => Ok(Enqueued::TooManyAtWork(number()?)),
            "crowded" if !strict => {
                strict = true;
                continue;
            }
            other => Err(rows::unreadable("verdict", format!("{other:?}"))),
        };
    }
}

/// Asks once, and says whether a try that failed may have been written.
async fn ask(
    store: &PostgresStore,
    new: &NewJob,
    admission: &Admission,
    outcome: Option<&Outcome>,
    now_ms: i64,
    strict: bool,
) -> Result<(bool, PgRow)> {
    let NewJob { id, endpoint, input, key_id, priority, start_by_ms, webhook, hint, keep_io, options, given } = new;
    let Admission { max_waiting, max_at_work, once, quiet: _ } = admission;
    let limit = |limit: &Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX / 2));
    let text = |text: &Option<String>| text.as_deref().map(|text| plain(text).into_owned());
    let (input, options, endpoint) = (input.to_string(), options.to_string(), plain(endpoint));
    let (word, digest) = once.as_ref().map(|Once { word, digest }| (plain(word), &digest[..])).unzip();
    let ending = outcome.map(Ending::new).transpose()?.unwrap_or_default();
    let files = Files::of(given)?;
    let end_state = outcome.map(|outcome| outcome.end_state(false).as_str());

    let mut maybe_written = false;
    let row = retried!(again => {
        maybe_written |= again;
        let query = sqlx::query(
            "SELECT * FROM accept_with_files($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
             $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)",
        )
        .bind(now_ms)
        .bind(id.to_string())
        .bind(&endpoint)
        .bind(&input)
        .bind(&options)
        .bind(text(key_id))
        .bind(priority_number(*priority))
        .bind(start_by_ms)
        .bind(text(webhook))
        .bind(text(hint))
        .bind(keep_io)
        .bind(limit(max_waiting))
        .bind(limit(max_at_work))
        .bind(&word)
        .bind(digest)
        .bind(strict)
        .bind(end_state);
        files.bind(ending.bind(query)).fetch_one(&store.pool)
    })?;
    Ok((maybe_written, row))
}

pub(super) async fn cancel(store: &PostgresStore, id: JobId, outcome: &Outcome) -> Result<Cancel> {
    let (now_ms, ending) = (store.now_ms(), Ending::new(outcome)?);
    let row = retried!({
        let query = sqlx::query("SELECT * FROM cancel_job($1, $2, $3, $4, $5, $6, $7, $8)");
        ending.bind(query.bind(now_ms).bind(id.to_string())).fetch_one(&store.pool)
    })?;
    match row.try_get("verdict")? {
        "removed" => {
            store.announce_end(id, row.try_get("delivery")?);
            Ok(Cancel::Removed)
        }
        "requested" | "again" => {
            store.announce(Change::Job(id));
            store.announce(Change::Cancelling(id));
            Ok(Cancel::Requested)
        }
        "ended" => Ok(Cancel::AlreadyEnded),
        "unknown" => Ok(Cancel::Unknown),
        other => Err(rows::unreadable("verdict", format!("{other:?}"))),
    }
}

pub(super) async fn end_unstarted(store: &PostgresStore, id: JobId, outcome: &Outcome) -> Result<bool> {
    let (now_ms, ending) = (store.now_ms(), Ending::new(outcome)?);
    let state = outcome.end_state(false).as_str();
    let row = retried!({
        let query = sqlx::query("SELECT * FROM end_unstarted($1, $2, $3, $4, $5, $6, $7, $8, $9)");
        ending.bind(query.bind(now_ms).bind(id.to_string()).bind(state)).fetch_one(&store.pool)
    })?;
    let ended = row.try_get("ended")?;
    if ended {
        store.announce_end(id, row.try_get("delivery")?);
    }
    Ok(ended)
}
