//! `GET /jobs`: what waits, what runs, and who runs it.

use std::collections::{BTreeMap, HashMap};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use minijinja::context;
use scumble_api::AboutWorker;
use scumble_store::{EventKind, HistoryFilter, Job, JobId, State as JobState};
use serde_json::{Value, json};

use super::job::summary;
use super::labels::{duration, moment};
use super::layout::{Frame, base};
use super::visitor::Visitor;
use super::ways::Workers;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::state::AppState;

/// How many waiting and how many ended jobs are listed.
const LISTED: u32 = 20;

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Visitor,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    match content(&state, &caller, &visitor).await {
        Ok(content) => frame.page("jobs.html", "jobs", &content),
        Err(error) => frame.refusal(&Refusal::from(error)),
    }
}

async fn content(state: &AppState, caller: &Caller, visitor: &Visitor) -> scumble_store::Result<minijinja::Value> {
    let store = &state.store;
    let (base, now_ms) = (base(caller), state.clock.now_ms());
    let own = |states: &[JobState], limit: u32| HistoryFilter {
        key_id: visitor.key_id.clone(),
        states: states.to_vec(),
        limit,
        ..HistoryFilter::default()
    };
    let workers = Workers::now(state).await?;
    let at_work: HashMap<JobId, String> = store.at_work().await?.into_iter().map(|w| (w.job, w.worker)).collect();
    let running = store.history(&own(&[JobState::Leased, JobState::Running], 100)).await?;
    let mut rows = Vec::new();
    for job in &running {
        rows.push(row_of_running(state, job, &base, now_ms, &workers, at_work.get(&job.id)).await?);
    }
    let list = async |states: &[JobState]| -> scumble_store::Result<Vec<Value>> {
        Ok(store.history(&own(states, LISTED)).await?.iter().map(|job| summary(job, &base)).collect())
    };
    let counts = store.counts().await?;
    let total = |wanted: fn(JobState) -> bool| -> u64 {
        counts.iter().filter(|count| wanted(count.state)).map(|count| count.jobs).sum()
    };
    let (waiting_total, running_total) = (total(|s| s == JobState::Queued), total(|s| s != JobState::Queued));
    let mut depth: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for count in &counts {
        let (waiting, running) = depth.entry(count.endpoint.as_str()).or_default();
        *(if count.state == JobState::Queued { waiting } else { running }) += count.jobs;
    }
    let depth: Vec<_> =
        depth.into_iter().map(|(id, (w, r))| context! { id => id, waiting => w, running => r }).collect();
    let crew: Vec<_> = workers
        .all()
        .iter()
        .map(|(worker, about)| {
            let near = near_slots(about);
            let held = at_work.values().filter_map(|holder| slot_of(holder, &worker.name));
            let (busy, far_busy): (Vec<usize>, Vec<usize>) = held.partition(|slot| *slot < near);
            context! {
                name => worker.name, device => about.device, slots => near, busy => busy.len(),
                far_slots => about.far_slots, far_busy => far_busy.len(),
                since => moment(worker.since_ms), up => duration(now_ms - worker.since_ms),
            }
        })
        .collect();
    Ok(context! {
        title => "Jobs",
        running => rows,
        waiting => list(&[JobState::Queued]).await?,
        ended => list(&[JobState::Done, JobState::Failed, JobState::Cancelled]).await?,
        depth => depth,
        waiting_total => waiting_total,
        running_total => running_total,
        others => running_total.saturating_sub(running.len() as u64),
        slots => workers.all().iter().map(|(_, about)| near_slots(about)).sum::<usize>(),
        far_slots => workers.all().iter().map(|(_, about)| about.far_slots).sum::<usize>(),
        workers => crew,
    })
}

async fn row_of_running(
    state: &AppState,
    job: &Job,
    base: &str,
    now_ms: i64,
    workers: &Workers,
    holder: Option<&String>,
) -> scumble_store::Result<Value> {
    let progress = state.store.events(job.id, 0).await?.into_iter().rev().find_map(|event| match event.kind {
        EventKind::Progress { stage, done, total } => Some(json!({ "stage": stage, "done": done, "total": total })),
        _ => None,
    });
    let worker = holder.map(|holder| holder.rsplit_once('/').map_or(holder.as_str(), |(name, _)| name));
    let mut row = summary(job, base);
    row["progress"] = progress.unwrap_or_default();
    row["running_for"] = job.started_ms.map(|start| duration(now_ms - start)).into();
    row["worker"] = worker.into();
    row["device"] = worker.and_then(|worker| workers.devices().get(worker).copied()).into();
    row["cancelling"] = job.cancel_requested.into();
    Ok(row)
}

/// How many jobs a worker computes at once; those that wait for makers are beside them.
fn near_slots(about: &AboutWorker) -> usize {
    about.slots.saturating_sub(about.far_slots)
}

/// The slot of this worker that holds a lease, if one does. Those that compute have the lowest numbers.
fn slot_of(holder: &str, worker: &str) -> Option<usize> {
    let (name, slot) = holder.rsplit_once('/')?;
    (name == worker).then(|| slot.parse().unwrap_or(0))
}
