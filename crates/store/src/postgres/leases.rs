//! Writes on behalf of workers: claim, start, beat, log, finish, release; and taking back what they lost.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use super::PostgresStore;
use super::ending::Ending;
use super::errors::{Tries, retried};
use super::rows::{self, plain};
use crate::clock::{FAR_MS, Shift};
use crate::{
    Beat, Change, Claim, Claimable, EventKind, FileRecord, Finish, Job, Lease, Limits, NewEvent, Outcome, Product,
    Reclaimed, Release, Result, State,
};

/// How long a job waits for the worker that served its hint before, counted from its acceptance.
const HINT_WAIT_MS: i64 = 1_000;

/// How long a worker is taken to be warm for a hint it has served.
pub(super) const HINT_KEPT_MS: i64 = 300_000;

pub(super) async fn claim(store: &PostgresStore, claim: &Claim) -> Result<Option<Lease>> {
    let Claim { worker, endpoints, lease_ms, per_key, start } = claim;
    let sql = if *start { include_str!("queries/claim_and_start.sql") } else { include_str!("queries/claim.sql") };
    let now_ms = store.now_ms();
    let expires_ms = now_ms.saturating_add(*lease_ms);
    let only: Option<Vec<_>> = match endpoints {
        Claimable::All => None,
        Claimable::Only(list) => Some(list.iter().map(|endpoint| plain(endpoint).into_owned()).collect()),
    };
    let row = retried!(
        sqlx::query(sql)
            .bind(now_ms)
            .bind(plain(worker))
            .bind(plain(process(worker)))
            .bind(&only)
            .bind(expires_ms)
            .bind(per_key.map(i64::from))
            .bind(HINT_WAIT_MS)
            .bind(now_ms.saturating_sub(HINT_KEPT_MS))
            .fetch_optional(&store.pool)
    )?;
    let Some(row) = row else { return Ok(None) };
    let mut job = rows::job(&row)?;
    store.announce(Change::Job(job.id));
    if *start {
        store.announce(Change::Job(job.id));
        job = Job { state: State::Running, started_ms: Some(now_ms), ..job };
    }
    Ok(Some(Lease { attempt: job.attempt, job, worker: worker.clone(), expires_ms }))
}

/// What slots of one worker have in common: `process/slot`.
fn process(worker: &str) -> &str {
    worker.rsplit_once('/').map_or(worker, |(process, _)| process)
}

pub(super) async fn start(store: &PostgresStore, lease: &Lease) -> Result<Beat> {
    let now_ms = store.now_ms();
    let row = retried!(
        sqlx::query("SELECT * FROM start($1, $2, $3)")
            .bind(now_ms)
            .bind(lease.job.id.to_string())
            .bind(lease.attempt)
            .fetch_optional(&store.pool)
    )?;
    let Some(row) = row else { return Ok(Beat::Lost) };
    if row.try_get("news")? {
        store.announce(Change::Job(lease.job.id));
    }
    Ok(Beat::Alive { cancel_requested: row.try_get("cancel")? })
}

pub(super) async fn heartbeat(store: &PostgresStore, lease: &Lease, lease_ms: i64) -> Result<Beat> {
    let expires_ms = store.now_ms().saturating_add(lease_ms);
    let row = retried!(
        sqlx::query(include_str!("queries/heartbeat.sql"))
            .bind(lease.job.id.to_string())
            .bind(lease.attempt)
            .bind(expires_ms)
            .fetch_optional(&store.pool)
    )?;
    let Some(row) = row else { return Ok(Beat::Lost) };
    Ok(Beat::Alive { cancel_requested: row.try_get("cancel_requested")? })
}

pub(super) async fn log(store: &PostgresStore, lease: &Lease, events: &[NewEvent]) -> Result<Beat> {
    let words = Words::of(events)?;
    let row = retried!(
        sqlx::query("SELECT * FROM log($1, $2, $3, $4, $5)")
            .bind(lease.job.id.to_string())
            .bind(lease.attempt)
            .bind(&words.at_ms)
            .bind(&words.preview)
            .bind(&words.data)
            .fetch_optional(&store.pool)
    )?;
    let Some(row) = row else { return Ok(Beat::Lost) };
    if !events.is_empty() {
        store.announce(Change::Job(lease.job.id));
    }
    Ok(Beat::Alive { cancel_requested: row.try_get("cancel")? })
}

/// Events, column by column.
struct Words {
    at_ms: Vec<i64>,
    preview: Vec<bool>,
    data: Vec<String>,
}

impl Words {
    fn of(events: &[NewEvent]) -> Result<Self> {
        Ok(Self {
            at_ms: events.iter().map(|event| event.at_ms).collect(),
            preview: events.iter().map(|event| matches!(event.kind, EventKind::Preview { .. })).collect(),
            data: events.iter().map(|event| rows::to_json("event", &event.kind)).collect::<Result<_>>()?,
        })
    }
}

pub(super) async fn finish(store: &PostgresStore, lease: &Lease, product: &Product) -> Result<Finish> {
    let Product { outcome, files, fresh: _, last_words } = product;
    let (now_ms, ending) = (store.now_ms(), Ending::new(outcome)?);
    let (files, words) = (Files::of(files)?, Words::of(last_words)?);
    // the work is done, and is worth waiting for a server that restarts
    let row = retried!(Tries::patient(), again => {
        let query = sqlx::query(
            "SELECT * FROM finish_with_words($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
             $17, $18, $19, $20, $21, $22)",
        )
        .bind(now_ms)
        .bind(lease.job.id.to_string())
        .bind(lease.attempt)
        .bind(again)
        .bind(outcome.end_state(false).as_str())
        .bind(outcome.end_state(true).as_str());
        files
            .bind(ending.bind(query))
            .bind(&words.at_ms)
            .bind(&words.preview)
            .bind(&words.data)
            .fetch_one(&store.pool)
    })?;
    if !row.try_get::<bool, _>("accepted")? {
        return Ok(Finish::Superseded);
    }
    store.announce_end(lease.job.id, row.try_get("delivery")?);
    Ok(Finish::Accepted)
}

/// File rows, column by column.
#[derive(Default)]
pub(super) struct Files {
    paths: Vec<String>,
    content_types: Vec<String>,
    bytes: Vec<i64>,
    created_ms: Vec<i64>,
    expires_ms: Vec<Option<i64>>,
    owners: Vec<Option<String>>,
    access: Vec<String>,
}

impl Files {
    pub(super) fn of(files: &[FileRecord]) -> Result<Self> {
        let mut columns = Self::default();
        for file in files {
            let FileRecord { path, job_id: _, content_type, bytes, created_ms, expires_ms, owner, access } = file;
            columns.paths.push(plain(path).into_owned());
            columns.content_types.push(plain(content_type).into_owned());
            columns.bytes.push(*bytes);
            columns.created_ms.push(*created_ms);
            columns.expires_ms.push(*expires_ms);
            columns.owners.push(owner.as_deref().map(|owner| plain(owner).into_owned()));
            columns.access.push(rows::to_json("access", access)?);
        }
        Ok(columns)
    }

    pub(super) fn bind<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        let Self { paths, content_types, bytes, created_ms, expires_ms, owners, access } = self;
        query.bind(paths).bind(content_types).bind(bytes).bind(created_ms).bind(expires_ms).bind(owners).bind(access)
    }
}

pub(super) async fn release(store: &PostgresStore, lease: &Lease, why: &Release) -> Result<bool> {
    let now_ms = store.now_ms();
    let (drained, reason, rest_ms) = match why {
        Release::Drained => (true, "the worker was shut down", 0),
        Release::Failed { reason, rest_ms } => (false, reason.as_str(), *rest_ms),
    };
    let not_before_ms = (rest_ms > 0).then(|| now_ms.saturating_add(rest_ms));
    let row = retried!(
        sqlx::query("SELECT * FROM release($1, $2, $3, $4, $5, $6)")
            .bind(now_ms)
            .bind(lease.job.id.to_string())
            .bind(lease.attempt)
            .bind(drained)
            .bind(plain(reason))
            .bind(not_before_ms)
            .fetch_optional(&store.pool)
    )?;
    let Some(row) = row else { return Ok(false) };
    match row.try_get("endpoint")? {
        Some(endpoint) => store.announce_again(lease.job.id, endpoint),
        None => store.announce_end(lease.job.id, row.try_get("delivery")?),
    }
    Ok(true)
}

/// Brings nearer what lies too far ahead, where the clock was set back.
async fn shift_all(store: &PostgresStore, now_ms: i64) -> Result<()> {
    if let Some(Shift { now_ms, beyond_ms, by_ms }) = store.setback.shift(now_ms) {
        retried!(
            sqlx::query(include_str!("queries/shift.sql"))
                .bind(now_ms)
                .bind(now_ms.saturating_add(beyond_ms))
                .bind(by_ms)
                .bind(now_ms.saturating_add(FAR_MS))
                .execute(&store.pool)
        )?;
    }
    store.setback.looked(now_ms);
    Ok(())
}

pub(super) async fn reclaim_expired(store: &PostgresStore, limits: Limits, set_aside: &Outcome) -> Result<Reclaimed> {
    let (now_ms, ending) = (store.now_ms(), Ending::new(set_aside)?);
    shift_all(store, now_ms).await?;
    let Limits { max_attempts, max_crashes } = limits;
    let found = retried!({
        let query = sqlx::query("SELECT * FROM reclaim_expired($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(now_ms)
            .bind(max_attempts)
            .bind(max_crashes)
            .bind(set_aside.end_state(false).as_str());
        ending.bind(query).fetch_all(&store.pool)
    })?;
    let mut reclaimed = Reclaimed::default();
    for row in &found {
        let id = rows::job_id(row, "id")?;
        match row.try_get("fate")? {
            "requeued" => {
                store.announce_again(id, row.try_get("endpoint")?);
                reclaimed.requeued.push(id);
                continue;
            }
            "cancelled" => reclaimed.cancelled.push(id),
            "set_aside" => reclaimed.set_aside.push(id),
            other => return Err(rows::unreadable("fate", format!("{other:?}"))),
        }
        store.announce_end(id, row.try_get("delivery")?);
    }
    Ok(reclaimed)
}
