//! The store in a SQLite file: one writer that groups commits, a few readers beside it.
//!
//! Several processes may open the same file; they take turns with writing. Changes are announced only to the process
//! that made them, so other processes poll.

mod calls;
mod files;
mod keys;
mod leases;
mod migrate;
mod open;
#[cfg(test)]
mod plans;
mod reads;
mod rows;
mod secrets;
mod steps;
mod writer;

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::sync::broadcast;

use self::leases::Token;
pub use self::open::Options;
use self::writer::Writer;
use crate::{
    Admission, Beat, Cancel, Change, Claim, Clock, Count, Delivery, DeliveryAttempt, DeliveryRecord, Enqueued, Error,
    Event, FileRecord, Finish, Job, JobFilter, JobId, JobSummary, KeyRecord, Lease, Limits, NewEvent, NewJob,
    NextDelivery, Outcome, Reclaimed, Release, Result, Retention, SecretBytes, SecretRecord, Store,
};

pub(crate) use self::open::sorted;

/// The store in a SQLite file.
///
/// Write-ahead log with `synchronous = FULL`: what was acknowledged survives a power cut. The writer lives on the
/// runtime that opened the store.
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    clock: std::sync::Arc<dyn Clock>,
    changes: broadcast::Sender<Change>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

// Writes go to the writer as closures over owned values, because they outlive a caller who goes away.
#[async_trait]
impl Store for SqliteStore {
    async fn enqueue(&self, job: NewJob, admission: Admission) -> Result<Enqueued> {
        self.writer.write(|tx| Box::pin(calls::enqueue(tx, job, admission))).await
    }

    async fn enqueue_ended(&self, job: NewJob, admission: Admission, outcome: Outcome) -> Result<Enqueued> {
        self.writer.write(|tx| Box::pin(calls::enqueue_ended(tx, job, admission, outcome))).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>> {
        reads::job(&self.readers, id).await
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>> {
        reads::position(&self.readers, id).await
    }

    async fn events(&self, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
        reads::events(&self.readers, id, after_seq).await
    }

    async fn cancel(&self, id: JobId, outcome: Outcome) -> Result<Cancel> {
        self.writer.write(move |tx| Box::pin(calls::cancel(tx, id, outcome))).await
    }

    async fn recent(&self, filter: &JobFilter) -> Result<Vec<JobSummary>> {
        reads::recent(&self.readers, filter).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        reads::counts(&self.readers).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>> {
        let claim = claim.clone();
        self.writer.write(move |tx| Box::pin(leases::claim(tx, claim))).await
    }

    async fn start(&self, lease: &Lease) -> Result<Beat> {
        let token = Token::from(lease);
        self.writer.write(move |tx| Box::pin(leases::start(tx, token))).await
    }

    async fn heartbeat(&self, lease: &Lease, lease_ms: i64) -> Result<Beat> {
        let token = Token::from(lease);
        self.writer.write(move |tx| Box::pin(leases::heartbeat(tx, token, lease_ms))).await
    }

    async fn log(&self, lease: &Lease, events: Vec<NewEvent>) -> Result<Beat> {
        let token = Token::from(lease);
        self.writer.write(move |tx| Box::pin(leases::log(tx, token, events))).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome, files: Vec<FileRecord>) -> Result<Finish> {
        let token = Token::from(lease);
        self.writer.write(move |tx| Box::pin(leases::finish(tx, token, outcome, files))).await
    }

    async fn release(&self, lease: &Lease, why: Release) -> Result<bool> {
        let token = Token::from(lease);
        self.writer.write(move |tx| Box::pin(leases::release(tx, token, why))).await
    }

    async fn reclaim_expired(&self, limits: Limits, set_aside: Outcome) -> Result<Reclaimed> {
        self.writer.write(move |tx| Box::pin(leases::reclaim_expired(tx, limits, set_aside))).await
    }

    async fn overdue(&self) -> Result<Vec<JobId>> {
        reads::overdue(&self.readers, self.clock.now_ms()).await
    }

    async fn end_unstarted(&self, id: JobId, outcome: Outcome) -> Result<bool> {
        self.writer.write(move |tx| Box::pin(calls::end_unstarted(tx, id, outcome))).await
    }

    async fn purge(&self, _retention: Retention, _limit: u32) -> Result<u64> {
        Err(Error::Closed)
    }

    async fn delete_job(&self, _id: JobId) -> Result<Option<Vec<FileRecord>>> {
        Err(Error::Closed)
    }

    async fn claim_deliveries(&self, _limit: u32, _lease_ms: i64) -> Result<Vec<Delivery>> {
        Err(Error::Closed)
    }

    async fn delivery_attempted(
        &self,
        _delivery: &Delivery,
        _attempt: DeliveryAttempt,
        _next: NextDelivery,
    ) -> Result<bool> {
        Err(Error::Closed)
    }

    async fn next_delivery_ms(&self) -> Result<Option<i64>> {
        Err(Error::Closed)
    }

    async fn deliveries(&self, _id: JobId) -> Result<Vec<DeliveryRecord>> {
        Err(Error::Closed)
    }

    async fn redeliver(&self, _id: JobId) -> Result<bool> {
        Err(Error::Closed)
    }

    async fn secrets(&self, purpose: &str, first: SecretBytes) -> Result<Vec<SecretRecord>> {
        let found = secrets::list(&self.readers, purpose).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        let purpose = purpose.to_owned();
        self.writer.write(|tx| Box::pin(secrets::of_purpose(tx, purpose, first))).await
    }

    async fn add_secret(&self, purpose: &str, value: SecretBytes) -> Result<SecretRecord> {
        let purpose = purpose.to_owned();
        self.writer.write(|tx| Box::pin(secrets::add(tx, purpose, value))).await
    }

    async fn remove_secret(&self, id: i64) -> Result<bool> {
        self.writer.write(move |tx| Box::pin(secrets::remove(tx, id))).await
    }

    async fn create_key(&self, id: &str, label: &str, secret_hash: [u8; 32]) -> Result<KeyRecord> {
        let (id, label) = (id.to_owned(), label.to_owned());
        self.writer.write(move |tx| Box::pin(keys::create(tx, id, label, secret_hash))).await
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>> {
        keys::list(&self.readers).await
    }

    async fn revoke_key(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.writer.write(|tx| Box::pin(keys::revoke(tx, id))).await
    }

    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
        keys::by_hash(&self.readers, secret_hash).await
    }

    async fn touch_key(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.writer.write(|tx| Box::pin(keys::touch(tx, id))).await
    }

    async fn keys_required(&self) -> Result<bool> {
        keys::any(&self.readers).await
    }

    async fn put_file(&self, file: FileRecord) -> Result<()> {
        self.writer.write(|tx| Box::pin(files::insert(tx, file))).await
    }

    async fn file(&self, path: &str) -> Result<Option<FileRecord>> {
        files::by_path(&self.readers, path).await
    }

    async fn expired_files(&self, _limit: u32) -> Result<Vec<FileRecord>> {
        Err(Error::Closed)
    }

    async fn forget_file(&self, _path: &str) -> Result<bool> {
        Err(Error::Closed)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        migrate::version(&mut *self.readers.acquire().await?).await?;
        Ok(())
    }

    async fn close(&self) {
        // The last connection to close writes the log back into the database; it has to be one that may write.
        self.readers.close().await;
        self.writer.close().await;
    }
}
