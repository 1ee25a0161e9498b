//! The store in a PostgreSQL database, shared by as many processes as want to.
//!
//! Nearly every call is one statement, and so one transaction: what has to be decided on the way is decided by the
//! functions in `migrations/`. A statement that failed because the connection was cut, or because two stood in each
//! other's way, is tried again (`errors`). Changes are announced to this process after the commit and to the others by
//! NOTIFY (`announce`).

mod announce;
mod calls;
mod census;
mod deliveries;
mod ending;
mod errors;
mod files;
mod history;
mod keys;
mod leases;
mod migrate;
mod open;
mod probe;
mod reads;
mod retention;
mod rows;
mod secrets;
mod visits;
mod workers;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::broadcast;

use self::announce::Announcer;
pub use self::open::PostgresOptions;
use crate::clock::Setback;
use crate::keyed::Keyed;
use crate::stuck::Stuck;
use crate::{
    Admission, AtWork, Beat, Cancel, Census, Change, Claim, Clock, Count, Delivery, DeliveryAttempt, DeliveryLease,
    DeliveryRecord, Enqueued, Error, Event, FileRecord, FilesPart, Finish, HistoryFilter, Job, JobFilter, JobId,
    JobSummary, KeyRecord, Lease, Limits, NewEvent, NewJob, NextDelivery, Outcome, Product, Reclaimed, Release, Result,
    Retention, SecretBytes, SecretRecord, Store, WorkerRecord,
};

/// The store in a PostgreSQL database.
///
/// It finds its way back by itself when the server was away: calls wait for it for a while, then fail with
/// [`Error::NoAnswer`](crate::Error::NoAnswer), and the next ones try again.
pub struct PostgresStore {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    announcer: Announcer,
    keyed: Keyed,
    setback: Setback,
    stuck: Stuck,
    meter: scumble_meters::Store,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresStore")
    }
}

impl PostgresStore {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn announce(&self, change: Change) {
        self.announcer.announce(change);
    }

    /// Measures a write: a statement, which is a transaction of its own.
    async fn timed<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let written = write.await;
        self.meter.commit.observe(began.elapsed().as_secs_f64());
        written.inspect_err(|_| self.meter.failures.inc())
    }

    /// Announces that a job is in the queue again.
    fn announce_again(&self, id: JobId, endpoint: String) {
        self.announce(Change::Queued { endpoint });
        self.announce(Change::Job(id));
    }

    /// Announces that a job has ended, maybe with a webhook.
    fn announce_end(&self, id: JobId, delivery: bool) {
        self.announce(Change::Job(id));
        self.announce(Change::Ended(id));
        if delivery {
            self.announce(Change::Delivery);
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn enqueue(&self, job: NewJob, admission: Admission) -> Result<Enqueued> {
        self.timed(calls::enqueue(self, job, &admission)).await
    }

    async fn enqueue_ended(&self, job: NewJob, admission: Admission, outcome: Outcome) -> Result<Enqueued> {
        self.timed(calls::enqueue_ended(self, job, &admission, outcome)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>> {
        reads::job(self, id).await
    }

    async fn summary(&self, id: JobId) -> Result<Option<JobSummary>> {
        reads::summary(self, id).await
    }

    async fn outcome(&self, id: JobId) -> Result<Option<Outcome>> {
        reads::outcome(self, id).await
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>> {
        reads::position(self, id).await
    }

    async fn events(&self, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
        reads::events(self, id, after_seq).await
    }

    async fn cancel(&self, id: JobId, outcome: Outcome) -> Result<Cancel> {
        self.timed(calls::cancel(self, id, &outcome)).await
    }

    async fn recent(&self, filter: &JobFilter) -> Result<Vec<JobSummary>> {
        reads::recent(self, filter).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        reads::counts(self).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>> {
        let claimed = self.timed(leases::claim(self, claim)).await;
        self.stuck.note(&claimed, Option::is_some);
        claimed
    }

    async fn start(&self, lease: &Lease) -> Result<Beat> {
        self.timed(leases::start(self, lease)).await
    }

    async fn heartbeat(&self, lease: &Lease, lease_ms: i64) -> Result<Beat> {
        self.timed(leases::heartbeat(self, lease, lease_ms)).await
    }

    async fn log(&self, lease: &Lease, events: Vec<NewEvent>) -> Result<Beat> {
        self.timed(leases::log(self, lease, &events)).await
    }

    async fn finish(&self, lease: &Lease, product: Product) -> Result<Finish> {
        self.timed(leases::finish(self, lease, &product)).await
    }

    async fn release(&self, lease: &Lease, why: Release) -> Result<bool> {
        self.timed(leases::release(self, lease, &why)).await
    }

    async fn reclaim_expired(&self, limits: Limits, set_aside: Outcome) -> Result<Reclaimed> {
        leases::reclaim_expired(self, limits, &set_aside).await
    }

    async fn overdue(&self) -> Result<Vec<JobId>> {
        reads::overdue(self).await
    }

    async fn end_unstarted(&self, id: JobId, outcome: Outcome) -> Result<bool> {
        calls::end_unstarted(self, id, &outcome).await
    }

    async fn purge(&self, retention: Retention, limit: u32) -> Result<u64> {
        retention::purge(self, retention, limit, false).await
    }

    async fn purge_younger(&self, retention: Retention, limit: u32) -> Result<u64> {
        retention::purge(self, retention, limit, true).await
    }

    async fn has_older(&self) -> Result<bool> {
        retention::has_older(self).await
    }

    async fn delete_job(&self, id: JobId) -> Result<Option<Vec<FileRecord>>> {
        retention::delete_job(self, id).await
    }

    async fn claim_deliveries(&self, limit: u32, lease: DeliveryLease) -> Result<Vec<Delivery>> {
        deliveries::claim(self, limit, lease).await
    }

    async fn delivery_attempted(
        &self,
        delivery: &Delivery,
        attempt: DeliveryAttempt,
        next: NextDelivery,
    ) -> Result<bool> {
        deliveries::attempted(self, delivery, &attempt, next).await
    }

    async fn next_delivery_ms(&self) -> Result<Option<i64>> {
        deliveries::next_ms(self).await
    }

    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>> {
        deliveries::of_job(self, id).await
    }

    async fn redeliver(&self, id: JobId) -> Result<bool> {
        deliveries::redeliver(self, id).await
    }

    async fn secrets(&self, purpose: &str, first: SecretBytes) -> Result<Vec<SecretRecord>> {
        secrets::of_purpose(self, purpose, &first).await
    }

    async fn add_secret(&self, purpose: &str, value: SecretBytes) -> Result<SecretRecord> {
        secrets::add(self, purpose, &value).await
    }

    async fn remove_secret(&self, id: i64) -> Result<bool> {
        secrets::remove(self, id).await
    }

    async fn create_key(&self, id: &str, label: &str, secret_hash: [u8; 32]) -> Result<KeyRecord> {
        let created = keys::create(self, id, label, secret_hash).await?;
        self.keyed.now();
        Ok(created)
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>> {
        keys::list(self).await
    }

    async fn revoke_key(&self, id: &str) -> Result<bool> {
        keys::revoke(self, id).await
    }

    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
        keys::by_hash(self, secret_hash).await
    }

    async fn key(&self, id: &str) -> Result<Option<KeyRecord>> {
        keys::by_id(self, id).await
    }

    async fn touch_key(&self, id: &str) -> Result<()> {
        keys::touch(self, id).await
    }

    async fn keys_required(&self) -> Result<bool> {
        self.keyed.or_ask(|| keys::any(self)).await
    }

    async fn begin_visit(&self, word_hash: [u8; 32], key_id: &str, until_ms: i64) -> Result<()> {
        visits::begin(self, word_hash, key_id, until_ms).await
    }

    async fn visit(&self, word_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
        visits::key(self, word_hash).await
    }

    async fn end_visit(&self, word_hash: &[u8; 32]) -> Result<bool> {
        visits::end(self, word_hash).await
    }

    async fn put_file(&self, file: FileRecord) -> Result<()> {
        files::put(self, file).await
    }

    async fn file(&self, path: &str) -> Result<Option<FileRecord>> {
        files::by_path(self, path).await
    }

    async fn given_files(&self, id: JobId) -> Result<Vec<FileRecord>> {
        files::given(self, id).await
    }

    async fn expired_files(&self, limit: u32) -> Result<Vec<FileRecord>> {
        files::expired(self, limit).await
    }

    async fn forget_file(&self, path: &str) -> Result<bool> {
        files::forget(self, path).await
    }

    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<Job>> {
        history::history(self, filter).await
    }

    async fn latest(&self, endpoints: &[&str], key_id: Option<&str>) -> Result<Vec<Job>> {
        history::latest(self, endpoints, key_id).await
    }

    async fn at_work(&self) -> Result<Vec<AtWork>> {
        history::at_work(self).await
    }

    async fn announce_worker(&self, name: &str, about: Value) -> Result<()> {
        workers::announce(self, name, &about).await
    }

    async fn retire_worker(&self, name: &str) -> Result<bool> {
        workers::retire(self, name).await
    }

    async fn workers(&self, since_ms: i64) -> Result<Vec<WorkerRecord>> {
        workers::since(self, since_ms).await
    }

    async fn census(&self) -> Result<Census> {
        census::take(self).await
    }

    async fn count_files(&self, after: Option<String>, limit: u32) -> Result<FilesPart> {
        census::files(self, after, limit).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.announcer.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        migrate::version(&mut *self.pool.acquire().await?).await?;
        Ok(())
    }

    async fn prove(&self) -> Result<()> {
        self.stuck.why().map_or(Ok(()), Err)?;
        probe::prove(self).await
    }

    fn stuck(&self) -> Option<Error> {
        self.stuck.why()
    }

    async fn close(&self) {
        self.announcer.close().await;
        self.pool.close().await;
    }
}
