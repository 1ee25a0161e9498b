//! What every [`Store`] must do, as tests.
//!
//! An implementation says with a [`Place`] how to open itself and calls [`store_suite!`](crate::store_suite), which
//! makes one `#[tokio::test]` of each function here. Nothing sleeps: time passes when the place's clock is advanced.

pub mod admission;
pub mod calls;
pub mod cancels;
pub mod census;
pub mod deliveries;
pub mod fairness;
pub mod keys_and_files;
pub mod leases;
pub mod pages;
pub mod queue;
pub mod retention;
pub mod secrets;
pub mod setbacks;
pub mod visits;
pub mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use crate::{
    Admission, Beat, Claim, Claimable, Clock, Enqueued, FileRecord, Job, JobId, Lease, ManualClock, NewJob, Outcome,
    Priority, Product, Result, State, Store,
};

/// An empty database of a test's own.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens the database. Called again it opens the same one once more, as another process would.
    async fn open(&self) -> Result<Arc<dyn Store>>;

    /// The clock of every store opened here.
    fn clock(&self) -> &ManualClock;
}

/// Runs the suite in the module where it is called. The expression makes a fresh [`Place`].
#[macro_export]
macro_rules! store_suite {
    ($place:expr) => {
        $crate::store_suite!(@each $place; calls:
            acknowledged_is_there, input_comes_back, ids_are_used_once, unknown_jobs, summaries_and_outcomes,
            ended_at_once, recent_jobs, counts);
        $crate::store_suite!(@each $place; queue:
            first_in_first_out, low_waits_behind_normal, only_what_the_worker_can_run, positions, overdue_jobs,
            unstarted_jobs_end, many_at_once, claimants_never_share);
        $crate::store_suite!(@each $place; admission:
            not_while_too_many_wait, not_while_too_many_are_at_work, ended_ones_are_admitted_alike, the_same_word_again,
            words_belong_to_keys, a_word_for_something_else, repeats_are_welcome_when_it_is_full,
            refused_words_are_not_remembered, repeated_at_once, never_more_than_allowed);
        $crate::store_suite!(@each $place; fairness:
            keys_take_turns, fewest_at_work_first, interrupted_ones_go_first, interrupted_ones_keep_to_the_rules, priority_before_turns, jobs_without_a_key_are_one_party,
            a_key_has_its_limit, no_limit_without_a_key, other_endpoints_do_not_block, hints_keep_to_their_worker,
            hints_wait_a_second, hints_are_forgotten, many_keys_at_once);
        $crate::store_suite!(@each $place; leases:
            a_whole_life, claimed_and_started, who_waits_is_served, who_sits_is_called, second_claimant_wins, late_but_unrivalled, finished_once, heartbeats_keep_the_lease,
            lost_leases_write_nothing, last_words, crashes_have_a_limit, attempts_have_a_limit, release_keeps_the_place,
            rest_keeps_the_place, resting_jobs_end, previews_end_with_the_job, events_after,
            outcome_and_files_together);
        $crate::store_suite!(@each $place; setbacks: by_an_hour, by_years, forwards_by_a_day);
        $crate::store_suite!(@each $place; cancels:
            while_queued, while_leased, while_running, after_the_end, released_after_cancel, expired_after_cancel,
            too_late_for_the_run, unknown);
        $crate::store_suite!(@each $place; census:
            the_living_are_counted, the_first_in_line, webhooks_are_counted, files_are_counted_in_parts);
        $crate::store_suite!(@each $place; deliveries:
            every_end_is_delivered, without_webhook_nothing, delivered_at_last, given_up, claimed_by_one, lost_claims, the_first_claim_is_shorter,
            due_ones_first, once_more, the_next_one_is_known);
        $crate::store_suite!(@each $place; retention:
            kept_long_enough, not_before_the_webhook, the_living_stay, a_few_at_a_time, everything_goes_but_files,
            deleted_by_hand, pictures_end_with_their_jobs, given_files_go_with_their_jobs, words_are_free_again);
        $crate::store_suite!(@each $place; secrets: the_first_is_everybodys, several_for_a_purpose);
        $crate::store_suite!(@each $place; keys_and_files:
            keys_come_and_go, keys_stay_required, keys_are_unique, uploads, access, files_expire);
        $crate::store_suite!(@each $place; visits: begun_and_ended, they_end_by_themselves, a_key_has_so_many);
        $crate::store_suite!(@each $place; pages:
            history_page_by_page, histories_are_of_a_key, the_latest_of_each, who_has_what, workers_come_and_go);
        $crate::store_suite!(@each $place; whole: changes_are_announced, answers_pings, closed_is_closed);
    };
    (@each $place:expr; $area:ident: $($test:ident),+) => {
        mod $area {
            #[allow(unused_imports, reason = "whatever the expression needs")]
            use super::*;

            $(#[tokio::test]
            async fn $test() -> $crate::Result<()> {
                let place = $place;
                $crate::suite::$area::$test(&place).await
            })+
        }
    };
}

/// How long the suite's leases last.
const LEASE_MS: i64 = 30_000;

const ENDPOINT: &str = "fal-ai/flux/schnell";

fn new_job() -> NewJob {
    NewJob::new(ENDPOINT, json!({"prompt": "two red stars"}))
}

fn low_job() -> NewJob {
    NewJob { priority: Priority::Low, ..new_job() }
}

fn job_of(endpoint: &str) -> NewJob {
    NewJob { endpoint: endpoint.to_owned(), ..new_job() }
}

fn job_by(key: &str) -> NewJob {
    NewJob { key_id: Some(key.to_owned()), ..new_job() }
}

/// Enqueues a job and returns its id.
async fn enqueued(store: &dyn Store, new: NewJob) -> Result<JobId> {
    Ok(accepted(store, new).await?.id)
}

/// Enqueues a job that nothing speaks against, and returns it.
async fn accepted(store: &dyn Store, new: NewJob) -> Result<Job> {
    match store.enqueue(new, Admission::default()).await? {
        Enqueued::New { job, .. } => Ok(job),
        other => panic!("the job was not accepted: {other:?}"),
    }
}

/// Claims whatever is next.
async fn claim(store: &dyn Store, worker: &str) -> Result<Option<Lease>> {
    store.claim(&claim_of(worker, Claimable::All)).await
}

fn claim_of(worker: &str, endpoints: Claimable) -> Claim {
    Claim { worker: worker.to_owned(), endpoints, lease_ms: LEASE_MS, per_key: None, start: false }
}

/// Claims a job that has to be there.
async fn claimed(store: &dyn Store, worker: &str) -> Result<Lease> {
    let Some(lease) = claim(store, worker).await? else { panic!("nothing to claim") };
    Ok(lease)
}

/// Claims a job that has to be there and starts it.
async fn running(store: &dyn Store, worker: &str) -> Result<Lease> {
    let lease = claimed(store, worker).await?;
    assert_eq!(store.start(&lease).await?, ALIVE);
    Ok(lease)
}

/// The job, which has to be there.
async fn job(store: &dyn Store, id: JobId) -> Result<Job> {
    let Some(job) = store.job(id).await? else { panic!("no job {id}") };
    Ok(job)
}

async fn state(store: &dyn Store, id: JobId) -> Result<State> {
    Ok(job(store, id).await?.state)
}

const ALIVE: Beat = Beat::Alive { cancel_requested: false };
const TOLD_TO_CANCEL: Beat = Beat::Alive { cancel_requested: true };

fn success() -> Outcome {
    Outcome {
        status: 200,
        body: json!({"images": [{"url": "b/1/image.png"}]}),
        headers: BTreeMap::from([("x-fal-billable-units".to_owned(), "1".to_owned())]),
        error: None,
        error_type: None,
        inference_ms: Some(1234),
    }
}

fn with_files(outcome: Outcome, files: Vec<FileRecord>) -> Product {
    Product { files, ..outcome.into() }
}

fn failure(status: u16, error_type: &str) -> Outcome {
    Outcome {
        status,
        body: json!({"detail": error_type}),
        headers: BTreeMap::from([("x-fal-error-type".to_owned(), error_type.to_owned())]),
        error: Some(format!("it failed: {error_type}")),
        error_type: Some(error_type.to_owned()),
        inference_ms: None,
    }
}

fn cancelled() -> Outcome {
    failure(Outcome::CANCELLED, "client_cancelled")
}

fn file(path: &str) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        job_id: None,
        content_type: "image/png".to_owned(),
        bytes: 4096,
        created_ms: 1_000,
        expires_ms: Some(2_000),
        owner: None,
        access: Default::default(),
    }
}
