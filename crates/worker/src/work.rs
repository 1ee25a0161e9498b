//! The loop: wait for work, claim it, run it, until told to stop.

use std::sync::Arc;

use scumble_api::JobOptions;
use scumble_files::Files;
use scumble_meters::{EndpointLabel, Loss, Meters};
use scumble_store::{Change, Claim, Claimable, Claimed, Clock, JobId, Lease, Seat, Store};
use tokio::sync::broadcast::Receiver;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::announce::announce;
use crate::config::Config;
use crate::faults::Point;
use crate::fetching::{self, Fetching};
use crate::hear::hear;
use crate::housekeeping::{begin, housekeeping};
use crate::models::Models;
use crate::run_one::{Begun, Ending};
use crate::settle::settle;
use crate::spent;
use crate::standby;
use crate::webhooks::Deliverer;

/// Runs of one slot that may still be on their way to the disk while the next job runs.
const CONCLUDING_MAX: usize = 8;

/// Everything that running jobs needs. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// Where jobs come from and outcomes go.
    pub store: Arc<dyn Store>,
    /// Where pictures go.
    pub files: Files,
    /// What makes them.
    pub models: Arc<Models>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The owner's settings.
    pub config: Config,
}

impl Worker {
    /// Works, and delivers webhooks, until `drain` is cancelled, then lets the jobs at hand end and returns. Once `stop`
    /// is cancelled, jobs at hand go back to the queue instead.
    pub async fn run(self, drain: CancellationToken, stop: CancellationToken) {
        // before the first claim: what a crash has interrupted goes before what came later
        begin(&self).await;
        let _keeper = AbortOnDropHandle::new(tokio::spawn(housekeeping(self.clone(), drain.clone())));
        let _announcer = AbortOnDropHandle::new(tokio::spawn(announce(self.clone(), drain.clone())));
        let _preloading = AbortOnDropHandle::new(tokio::spawn(standby::preload(self.models.clone(), drain.clone())));
        let _idle = AbortOnDropHandle::new(tokio::spawn(standby::let_go_idle(self.models.clone())));
        let closing = CancellationToken::new();
        let delivering = Deliverer::new(&self).run(closing.clone(), stop.clone());
        let delivering = AbortOnDropHandle::new(tokio::spawn(delivering));
        let settling = AbortOnDropHandle::new(tokio::spawn(settle(self.clone(), closing.clone())));
        let mut slots = JoinSet::new();
        let (near, far) = self.shares();
        let near = std::iter::repeat_n(near, self.near_slots());
        let far = far.into_iter().flat_map(|far| std::iter::repeat_n(far, self.config.far_concurrency.max(1)));
        if let Some(makers) = self.models.makers() {
            spent::recount(&self, makers).await;
        }
        // of the many that wait for makers one looks for work, then the next: an empty queue is not asked by all of them
        let door = Arc::new(Mutex::new(()));
        let far = far.map(|endpoints| (endpoints, Some(door.clone())));
        let freed = watch::Sender::new(());
        let fetching = Fetching::default();
        let places = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        let (near_places, far_places) = (places(self.near_slots()), places(self.config.far_concurrency));
        self.show_slots();
        for (number, (endpoints, door)) in near.map(|endpoints| (endpoints, None)).chain(far).enumerate() {
            let slot = Slot {
                worker: self.clone(),
                claim: self.claim(number, endpoints),
                places: if door.is_some() { far_places.clone() } else { near_places.clone() },
                door,
                freed: freed.clone(),
                fetching: fetching.clone(),
                fetched: JoinSet::new(),
                concluding: JoinSet::new(),
            };
            slots.spawn(slot.work(drain.clone(), stop.clone()));
        }
        while let Some(ended) = slots.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a worker slot ended unexpectedly");
            }
        }
        // the last jobs want to be told of, too
        closing.cancel();
        if let Err(error) = delivering.await {
            tracing::error!(%error, "the delivery of webhooks ended unexpectedly");
        }
        if let Err(error) = settling.await {
            tracing::error!(%error, "the settling of small pictures ended unexpectedly");
        }
    }

    fn show_slots(&self) {
        let slots = &self.config.meters.jobs.slots;
        let far = if self.models.far().is_empty() { 0 } else { self.config.far_concurrency.max(1) };
        slots.with_label_values(&["near"]).set(self.near_slots() as f64);
        slots.with_label_values(&["far"]).set(far as f64);
    }

    /// Jobs at once that compute here: so many on each device.
    pub(crate) fn near_slots(&self) -> usize {
        self.config.concurrency.max(1) * self.models.devices().max(1)
    }

    /// What slots for this machine take, and what slots that wait for makers take: a job that waits must not keep the
    /// processor from one that computes.
    fn shares(&self) -> (Claimable, Option<Claimable>) {
        let far = self.models.far();
        if far.is_empty() {
            return (Claimable::All, None);
        }
        let near = scumble_api::ENDPOINTS.iter().map(|e| e.id).filter(|id| !far.contains(id));
        let only = |ids: Vec<&str>| Claimable::Only(ids.into_iter().map(str::to_owned).collect());
        (only(near.collect()), Some(only(far.to_vec())))
    }

    /// What a slot asks for.
    fn claim(&self, slot: usize, endpoints: Claimable) -> Claim {
        Claim {
            worker: format!("{}/{slot}", self.config.name),
            endpoints,
            lease_ms: self.config.lease_ms(),
            per_key: self.config.per_key,
            start: true,
        }
    }
}

/// A place for one running job.
struct Slot {
    worker: Worker,
    claim: Claim,
    /// Held while it looks for work, where several share one.
    door: Option<Arc<Mutex<()>>>,
    /// Told when a key has one job less at work: another of its jobs may go.
    freed: watch::Sender<()>,
    /// As many as there are slots of this kind: what was fetched beside the slots runs in one of them too.
    places: Arc<Semaphore>,
    /// Where jobs are whose pictures are read.
    fetching: Fetching,
    /// Those that this slot has claimed.
    fetched: JoinSet<()>,
    /// Runs whose end is being written down. The disk is slow and the device is not, so the next job need not wait.
    concluding: JoinSet<()>,
}

impl Slot {
    async fn work(mut self, drain: CancellationToken, stop: CancellationToken) {
        loop {
            while self.concluding.len() >= CONCLUDING_MAX {
                self.written().await;
            }
            let turn = match self.door.clone() {
                Some(door) => Some(door.lock_owned().await),
                None => None,
            };
            let Some((lease, changes)) = self.next(&drain).await else { break };
            let beside = self.fetching.place(&self.worker.models, &self.worker.config, &lease);
            drop(turn);
            match beside {
                Some(place) => self.fetch(lease, changes, (&drain, &stop), place),
                None => self.work_on(lease, changes, &stop).await,
            }
            while let Some(ended) = self.fetched.try_join_next() {
                complain(ended);
            }
        }
        while let Some(ended) = self.fetched.join_next().await {
            complain(ended);
        }
        while !self.concluding.is_empty() {
            self.written().await;
        }
    }

    /// Looks for work until there is some, and gives what was announced since before; `None` once there is to be no more.
    async fn next(&mut self, drain: &CancellationToken) -> Option<(Lease, Receiver<Change>)> {
        // ask to be woken before looking, so that nothing slips in between
        let (mut changes, mut freed) = (self.worker.store.changes(), self.freed.subscribe());
        while !drain.is_cancelled() {
            self.worker.config.faults.pass(Point::BeforeClaim);
            let claim = self.fetching.claim(&self.claim);
            let mut seat = match self.worker.store.claim_or_sit(&claim).await {
                Ok(Claimed::Job(lease)) => return Some((*lease, changes)),
                Ok(Claimed::Nothing(seat)) => seat,
                Err(error) => {
                    tracing::error!(%error, "cannot look for work");
                    Seat::outside()
                }
            };
            tokio::select! {
                // first, so that nothing is heard here that concerns the job which was handed over
                biased;
                () = seat.called() => {}
                () = hear(&mut changes, |change| matches!(change, Change::Queued { .. })) => {}
                _ = freed.changed() => {}
                // it is time to look anyway
                () = tokio::time::sleep(self.worker.config.poll) => {}
                () = drain.cancelled() => {}
            }
            if let Some(lease) = seat.leave() {
                return Some((lease, changes));
            }
            while let Some(ended) = self.concluding.try_join_next() {
                complain(ended);
            }
        }
        None
    }

    /// Counts how long a job has waited for its first attempt.
    fn waited(&self, lease: &Lease) {
        if lease.attempt > 1 {
            return;
        }
        let began = lease.job.started_ms.unwrap_or_else(|| self.worker.clock.now_ms());
        let waited_ms = began.saturating_sub(lease.job.created_ms).max(0);
        let wait = &self.worker.config.meters.jobs.wait;
        wait.of(EndpointLabel::of(&lease.job.endpoint)).observe(waited_ms as f64 / 1000.0);
    }

    /// Runs a job, and lets its end be written down beside whatever comes next.
    async fn work_on(&mut self, lease: Lease, changes: Receiver<Change>, stop: &CancellationToken) {
        let (job, endpoint) = (lease.job.id, lease.job.endpoint.clone());
        self.waited(&lease);
        tracing::info!(job.id = %job, endpoint.id = endpoint, attempt = lease.attempt, "job taken");
        let span = span(&lease);
        let run = async {
            let begun = Begun::new(&self.worker, lease, changes, stop);
            let ready = begun.ready(&self.worker).await;
            // what has failed needs none
            let place = if ready.is_ok() { begun.place(&self.places).await } else { None };
            let run = begun.run(&self.worker, ready).await;
            drop(place);
            run
        };
        let run = run.instrument(span.clone()).await;
        let (worker, freed) = (self.worker.clone(), self.freed.clone());
        self.concluding.spawn(async move {
            let ended = run.conclude(&worker).instrument(span.clone()).await;
            note(&span, &ended);
            tell(&worker.config.meters, job, &endpoint, ended);
            free(&worker, &freed);
        });
    }

    /// Reads the files of a job beside the slot, when it is its turn, while the slot goes on with the next; then the job
    /// runs as soon as one of the slots' places is free. With `drain` those in line go back to the queue.
    fn fetch(
        &mut self,
        lease: Lease,
        changes: Receiver<Change>,
        (drain, stop): (&CancellationToken, &CancellationToken),
        mut beside: fetching::Place,
    ) {
        let (job, endpoint) = (lease.job.id, lease.job.endpoint.clone());
        self.waited(&lease);
        tracing::info!(job.id = %job, endpoint.id = endpoint, attempt = lease.attempt, "job taken, its files are read");
        let span = span(&lease);
        let begun = span.in_scope(|| Begun::new(&self.worker, lease, changes, stop));
        let (worker, freed, places) = (self.worker.clone(), self.freed.clone(), self.places.clone());
        let drain = drain.clone();
        self.fetched.spawn(async move {
            let run = async {
                let ready = match begun.turn(&mut beside, &drain).await {
                    Ok(()) => begun.ready(&worker).await,
                    Err(error) => Err(error),
                };
                drop(beside);
                // its key may have been held back
                freed.send_replace(());
                let place = if ready.is_ok() { begun.place(&places).await } else { None };
                let run = begun.run(&worker, ready).await;
                drop(place);
                run.conclude(&worker).await
            };
            let ended = run.instrument(span.clone()).await;
            note(&span, &ended);
            tell(&worker.config.meters, job, &endpoint, ended);
            free(&worker, &freed);
        });
    }

    /// Until one more run is written down.
    async fn written(&mut self) {
        if let Some(ended) = self.concluding.join_next().await {
            complain(ended);
        }
    }
}

/// What is around all that is done for a job: its ids on every line of the log, whoever writes it, and in its trace the run.
fn span(lease: &Lease) -> Span {
    let Lease { job, attempt, worker, .. } = lease;
    let lines = tracing::error_span!("job", job.id = %job.id, endpoint.id = job.endpoint);
    let run = lines.in_scope(|| {
        let before = JobOptions::of(&job.options).traceparent();
        scumble_traces::span!(
            "run",
            before,
            otel.kind = "consumer",
            otel.status_code = Empty,
            job.id = %job.id,
            endpoint.id = job.endpoint,
            attempt,
            worker,
            ending = Empty,
            http.response.status_code = Empty
        )
    });
    if run.is_disabled() { lines } else { run }
}

/// Writes on the span of a run how it ended.
fn note(span: &Span, ended: &scumble_store::Result<Ending>) {
    let (ending, failed) = match ended {
        Ok(Ending::Finished { status, .. }) => {
            span.record("http.response.status_code", i64::from(*status));
            ("finished", *status >= 500)
        }
        Ok(Ending::Again { .. }) => ("again", true),
        Ok(Ending::Released) => ("released", false),
        Ok(Ending::Lost) => ("lost", true),
        Err(_) => ("unwritten", true),
    };
    span.record("ending", ending);
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// Tells those who look for work that a key has one job less at work, where that matters.
fn free(worker: &Worker, freed: &watch::Sender<()>) {
    if worker.config.per_key.is_some() {
        freed.send_replace(());
    }
}

/// The lease of what was not written down ends by itself, and the job is tried again.
fn complain(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the end of a job was not written down");
    }
}

fn tell(meters: &Meters, job: JobId, endpoint: &str, ended: scumble_store::Result<Ending>) {
    let label = EndpointLabel::of(endpoint);
    match ended {
        Ok(Ending::Finished { status, duration_ms, end }) => {
            meters.jobs.run.of(label).observe(duration_ms as f64 / 1000.0);
            meters.jobs.ended.of(label, end).inc();
            tracing::info!(job.id = %job, endpoint.id = endpoint, status, duration_ms, "job finished");
        }
        Ok(Ending::Again { reason, rest_ms }) => {
            meters.jobs.again.of(label).inc();
            tracing::warn!(job.id = %job, endpoint.id = endpoint, reason, rest_ms, "job is tried again");
        }
        Ok(Ending::Released) => tracing::info!(job.id = %job, endpoint.id = endpoint, "job given back"),
        Ok(Ending::Lost) => {
            meters.jobs.leases_lost.of(Loss::Taken).inc();
            tracing::warn!(job.id = %job, endpoint.id = endpoint, "job taken over by another worker");
        }
        // the lease ends by itself, and the job is tried again
        Err(error) => tracing::error!(job.id = %job, endpoint.id = endpoint, %error, "job could not be finished"),
    }
}
