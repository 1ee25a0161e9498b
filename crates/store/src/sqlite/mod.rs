//! The store in a SQLite file: one writer that groups commits, a few readers beside it.
//!
//! Several processes may open the same file; they take turns with writing. Changes are announced only to the process
//! that made them, so other processes poll.

mod admission;
mod calls;
mod check;
mod claims;
mod db;
mod deliveries;
mod errors;
mod files;
mod keys;
mod leases;
mod migrate;
mod open;
#[cfg(test)]
mod plans;
mod readers;
mod reads;
mod retention;
mod rows;
mod secrets;
mod steps;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

use self::leases::Token;
pub use self::open::Options;
use self::readers::Readers;
use self::writer::Writer;
use crate::{
    Admission, Beat, Cancel, Change, Claim, Clock, Count, Delivery, DeliveryAttempt, DeliveryRecord, Enqueued, Event,
    FileRecord, Finish, Job, JobFilter, JobId, JobSummary, KeyRecord, Lease, Limits, NewEvent, NewJob, NextDelivery,
    Outcome, Reclaimed, Release, Result, Retention, SecretBytes, SecretRecord, Store,
};

/// The store in a SQLite file.
///
/// Write-ahead log with `synchronous = FULL`: what was acknowledged survives a power cut.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    clock: Arc<dyn Clock>,
    changes: broadcast::Sender<Change>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

// Reads and writes go elsewhere as closures over owned values, because they outlive a caller who goes away.
#[async_trait]
impl Store for SqliteStore {
    async fn enqueue(&self, job: NewJob, admission: Admission) -> Result<Enqueued> {
        self.writer.write(move |tx| calls::enqueue(tx, job, &admission)).await
    }

    async fn enqueue_ended(&self, job: NewJob, admission: Admission, outcome: Outcome) -> Result<Enqueued> {
        self.writer.write(move |tx| calls::enqueue_ended(tx, job, &admission, outcome)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>> {
        self.readers.read(move |db| reads::job(db, id)).await
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>> {
        self.readers.read(move |db| reads::position(db, id)).await
    }

    async fn events(&self, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
        self.readers.read(move |db| reads::events(db, id, after_seq)).await
    }

    async fn cancel(&self, id: JobId, outcome: Outcome) -> Result<Cancel> {
        self.writer.write(move |tx| calls::cancel(tx, id, &outcome)).await
    }

    async fn recent(&self, filter: &JobFilter) -> Result<Vec<JobSummary>> {
        let filter = filter.clone();
        self.readers.read(|db| reads::recent(db, filter)).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        self.readers.read(reads::counts).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>> {
        let claim = claim.clone();
        self.writer.write(|tx| claims::claim(tx, claim)).await
    }

    async fn start(&self, lease: &Lease) -> Result<Beat> {
        let token = Token::from(lease);
        self.writer.write(move |tx| leases::start(tx, token)).await
    }

    async fn heartbeat(&self, lease: &Lease, lease_ms: i64) -> Result<Beat> {
        let token = Token::from(lease);
        self.writer.write(move |tx| leases::heartbeat(tx, token, lease_ms)).await
    }

    async fn log(&self, lease: &Lease, events: Vec<NewEvent>) -> Result<Beat> {
        let token = Token::from(lease);
        self.writer.write(move |tx| leases::log(tx, token, &events)).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome, files: Vec<FileRecord>) -> Result<Finish> {
        let token = Token::from(lease);
        self.writer.write(move |tx| leases::finish(tx, token, &outcome, files)).await
    }

    async fn release(&self, lease: &Lease, why: Release) -> Result<bool> {
        let token = Token::from(lease);
        self.writer.write(move |tx| leases::release(tx, token, why)).await
    }

    async fn reclaim_expired(&self, limits: Limits, set_aside: Outcome) -> Result<Reclaimed> {
        self.writer.write(move |tx| leases::reclaim_expired(tx, limits, &set_aside)).await
    }

    async fn overdue(&self) -> Result<Vec<JobId>> {
        let now_ms = self.clock.now_ms();
        self.readers.read(move |db| reads::overdue(db, now_ms)).await
    }

    async fn end_unstarted(&self, id: JobId, outcome: Outcome) -> Result<bool> {
        self.writer.write(move |tx| calls::end_unstarted(tx, id, &outcome)).await
    }

    async fn purge(&self, retention: Retention, limit: u32) -> Result<u64> {
        self.writer.write(move |tx| retention::purge(tx, retention, limit)).await
    }

    async fn delete_job(&self, id: JobId) -> Result<Option<Vec<FileRecord>>> {
        self.writer.write(move |tx| retention::delete_job(tx, id)).await
    }

    async fn claim_deliveries(&self, limit: u32, lease_ms: i64) -> Result<Vec<Delivery>> {
        self.writer.write(move |tx| deliveries::claim(tx, limit, lease_ms)).await
    }

    async fn delivery_attempted(
        &self,
        delivery: &Delivery,
        attempt: DeliveryAttempt,
        next: NextDelivery,
    ) -> Result<bool> {
        let delivery = delivery.clone();
        self.writer.write(move |tx| deliveries::attempted(tx, &delivery, &attempt, next)).await
    }

    async fn next_delivery_ms(&self) -> Result<Option<i64>> {
        self.readers.read(deliveries::next_ms).await
    }

    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>> {
        self.readers.read(move |db| deliveries::of_job(db, id)).await
    }

    async fn redeliver(&self, id: JobId) -> Result<bool> {
        self.writer.write(move |tx| deliveries::redeliver(tx, id)).await
    }

    async fn secrets(&self, purpose: &str, first: SecretBytes) -> Result<Vec<SecretRecord>> {
        let sought = purpose.to_owned();
        let found = self.readers.read(move |db| secrets::list(db, &sought)).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        let purpose = purpose.to_owned();
        self.writer.write(|tx| secrets::of_purpose(tx, purpose, first)).await
    }

    async fn add_secret(&self, purpose: &str, value: SecretBytes) -> Result<SecretRecord> {
        let purpose = purpose.to_owned();
        self.writer.write(|tx| secrets::add(tx, purpose, value)).await
    }

    async fn remove_secret(&self, id: i64) -> Result<bool> {
        self.writer.write(move |tx| secrets::remove(tx, id)).await
    }

    async fn create_key(&self, id: &str, label: &str, secret_hash: [u8; 32]) -> Result<KeyRecord> {
        let (id, label) = (id.to_owned(), label.to_owned());
        self.writer.write(move |tx| keys::create(tx, id, label, secret_hash)).await
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>> {
        self.readers.read(keys::list).await
    }

    async fn revoke_key(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.writer.write(move |tx| keys::revoke(tx, &id)).await
    }

    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
        let secret_hash = *secret_hash;
        self.readers.read(move |db| keys::by_hash(db, secret_hash)).await
    }

    async fn touch_key(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.writer.write(move |tx| keys::touch(tx, &id)).await
    }

    async fn keys_required(&self) -> Result<bool> {
        self.readers.read(keys::any).await
    }

    async fn put_file(&self, file: FileRecord) -> Result<()> {
        self.writer.write(|tx| files::insert(tx, file)).await
    }

    async fn file(&self, path: &str) -> Result<Option<FileRecord>> {
        let path = path.to_owned();
        self.readers.read(move |db| files::by_path(db, &path)).await
    }

    async fn expired_files(&self, limit: u32) -> Result<Vec<FileRecord>> {
        let now_ms = self.clock.now_ms();
        self.readers.read(move |db| files::expired(db, now_ms, limit)).await
    }

    async fn forget_file(&self, path: &str) -> Result<bool> {
        let path = path.to_owned();
        self.writer.write(move |tx| files::forget(tx, &path)).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        self.readers.read(migrate::version).await.map(|_| ())
    }

    async fn close(&self) {
        // The last connection to close writes the log back into the database; it has to be one that may write.
        self.readers.close().await;
        self.writer.close().await;
    }
}
