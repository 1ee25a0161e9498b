//! What makers were paid today, counted again when a process starts: a limit a day must outlive restarts.

use scumble_providers::{Cost, MakerId, Makers, spent_so_far};
use scumble_store::{JobFilter, JobId, Outcome, Result};

use crate::runner::Submitted;
use crate::work::Worker;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const PAGE: u32 = 500;

/// Adds up the jobs that ended today (UTC), and those that have not ended yet. A database that does not tell leaves the count at nothing, with a warning.
pub(crate) async fn recount(worker: &Worker, makers: &Makers) {
    if let Err(error) = count(worker, makers).await {
        tracing::warn!(%error, "what was spent at makers today cannot be counted; the limits of the day begin at zero");
    }
}

async fn count(worker: &Worker, makers: &Makers) -> Result<()> {
    let now_ms = worker.clock.now_ms();
    let midnight = now_ms - now_ms.rem_euclid(DAY_MS);
    let mut before = None;
    loop {
        let filter = JobFilter { endpoint: None, state: None, key_id: None, before, limit: PAGE };
        let page = worker.store.recent(&filter).await?;
        for summary in &page {
            // jobs are listed by their acceptance: none that was accepted a day before midnight ended after it
            if summary.created_ms < midnight - DAY_MS {
                return Ok(());
            }
            if summary.finished_ms.is_some_and(|at| at < midnight) {
                continue;
            }
            if let Some((id, cost)) = cost(worker, summary.id).await? {
                makers.add_spent(id, cost);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => before = Some(last.seq),
            _ => return Ok(()),
        }
    }
}

/// Only a closed model, or one that was forwarded, has a cost.
async fn cost(worker: &Worker, id: JobId) -> Result<Option<(MakerId, Cost)>> {
    let Some(job) = worker.store.job(id).await? else { return Ok(None) };
    if let Some(recorded) = job.outcome.as_ref().and_then(recorded) {
        return Ok(Some(recorded));
    }
    // what is under way, or was given up by somebody who did not know, is as dear as its ticket says
    let ended_well = job.outcome.as_ref().is_some_and(|outcome| outcome.status < 400);
    if job.attempt == 0 || ended_well {
        return Ok(None);
    }
    let submitted = Submitted::latest(worker.store.events(id, 0).await?);
    Ok(submitted.and_then(|Submitted { maker, ticket }| Some((MakerId::parse(&maker)?, spent_so_far(&ticket)?))))
}

fn recorded(outcome: &Outcome) -> Option<(MakerId, Cost)> {
    let (maker, usd) = outcome.paid()?;
    Some((MakerId::parse(maker)?, Cost::from_usd(usd.parse().ok()?)))
}
