//! The trait that every database implements.

use std::path::Path;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::{
    Admission, AtWork, Beat, Cancel, Census, Change, Claim, Claimed, Count, Delivery, DeliveryAttempt, DeliveryLease,
    DeliveryRecord, Enqueued, Event, FileRecord, FilesPart, Finish, FreshSize, HistoryFilter, Job, JobFilter, JobId,
    JobSummary, KeyRecord, Lease, Limits, NewEvent, NewJob, NextDelivery, Outcome, Product, Reclaimed, Release, Result,
    Retention, Seat, SecretBytes, SecretRecord, WorkerRecord,
};

/// Jobs, leases, events, keys and file rows in a database; used as `Arc<dyn Store>`.
///
/// Every method that writes answers after its commit, but for a [quiet](Admission::quiet) job that goes straight to a
/// worker ([`claim_or_sit`](Store::claim_or_sit)): nobody is told of it before its end. What was promised to somebody outside is on disk by then: accepted
/// jobs, their ends, keys, files. What workers note for each other ([`claim`](Store::claim), [`start`](Store::start),
/// [`heartbeat`](Store::heartbeat), [`log`](Store::log), [`claim_deliveries`](Store::claim_deliveries),
/// [`touch_key`](Store::touch_key)) may be lost when the machine and all of them lose power: then it is done once more. A
/// write whose future is dropped may
/// still be carried out; above all do not drop a [`claim`](Store::claim) midway, because a lease that nobody received
/// has to expire before the job is tried again.
///
/// # Errors
///
/// All methods fail alike: [`Error::Full`](crate::Error::Full), [`ReadOnly`](crate::Error::ReadOnly),
/// [`Busy`](crate::Error::Busy), [`Corrupt`](crate::Error::Corrupt) and [`Database`](crate::Error::Database) when the
/// database refuses, [`NoAnswer`](crate::Error::NoAnswer) when its server is away for longer than a few tries,
/// [`Unreadable`](crate::Error::Unreadable) when a row makes no sense, [`Closed`](crate::Error::Closed) after
/// [`close`](Store::close). After an error nothing was written; only after `NoAnswer` nobody knows. That a job or a lease
/// is not there (any more) is never an error but an answer.
#[async_trait]
pub trait Store: Send + Sync {
    // --- Callers: submit, look, cancel ---

    /// Accepts a job, if `admission` allows. What it checks and the job are one transaction, unless the job is handed to
    /// a worker.
    ///
    /// # Errors
    ///
    /// [`Error::JobExists`](crate::Error::JobExists) when the id was used before.
    async fn enqueue(&self, job: NewJob, admission: Admission) -> Result<Enqueued>;

    /// Records a job that ends at once with `outcome`, such as one whose input is wrong. It is never in the queue;
    /// its webhook is delivered as any other's.
    ///
    /// # Errors
    ///
    /// As for [`enqueue`](Store::enqueue).
    async fn enqueue_ended(&self, job: NewJob, admission: Admission, outcome: Outcome) -> Result<Enqueued>;

    /// The job of this id.
    async fn job(&self, id: JobId) -> Result<Option<Job>>;

    /// How the job of this id stands. Cheaper than [`job`](Store::job): inputs with embedded pictures have megabytes.
    async fn summary(&self, id: JobId) -> Result<Option<JobSummary>>;

    /// The outcome of the job of this id. `None` when it has not ended, or there is no such job.
    async fn outcome(&self, id: JobId) -> Result<Option<Outcome>>;

    /// How many queued jobs of the same endpoint go before this one. `None` when it is not in the queue.
    async fn position(&self, id: JobId) -> Result<Option<u64>>;

    /// The job's events with a number above `after_seq` (0: all), oldest first; empty when there is
    /// no such job.
    async fn events(&self, id: JobId, after_seq: i64) -> Result<Vec<Event>>;

    /// Asks to cancel a job. A waiting one ends at once with `outcome`; a worker's is told with its next word, and ends
    /// with `outcome` should the worker give it back or vanish.
    async fn cancel(&self, id: JobId, outcome: Outcome) -> Result<Cancel>;

    /// Jobs newest first, page by page.
    async fn recent(&self, filter: &JobFilter) -> Result<Vec<JobSummary>>;

    /// How many jobs of each endpoint are queued, leased and running. Pairs without a job are left out.
    async fn counts(&self) -> Result<Vec<Count>>;

    // --- Workers: claim, run, finish ---

    /// Takes the next job: normal priority before low; keys take turns, the one with the fewest jobs at work first;
    /// the jobs of one key, and those without a key, first in, first out. Left alone are jobs that rest
    /// ([`Job::not_before_ms`](crate::Job::not_before_ms)), those of a key that has [`Claim::per_key`] at work, those
    /// whose start deadline has passed (see [`overdue`](Store::overdue)), and for their first second those whose hint
    /// another worker has served lately.
    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>>;

    /// [`claim`](Store::claim), and where there is nothing to take, a [`Seat`]. To whoever sits a store may hand a
    /// [quiet](Admission::quiet) job as soon as it comes, without writing it first: it is written with its end, or when
    /// it lasts. As with a claim: do not drop this midway.
    async fn claim_or_sit(&self, claim: &Claim) -> Result<Claimed> {
        let claimed = self.claim(claim).await?;
        Ok(claimed.map_or_else(|| Claimed::Nothing(Seat::outside()), |lease| Claimed::Job(Box::new(lease))))
    }

    /// The worker begins to run the job.
    async fn start(&self, lease: &Lease) -> Result<Beat>;

    /// The worker is alive: the lease ends `lease_ms` milliseconds from now.
    async fn heartbeat(&self, lease: &Lease, lease_ms: i64) -> Result<Beat>;

    /// Appends events, all of them or, when the lease is lost, none. What was
    /// [`Submitted`](crate::EventKind::Submitted) is on disk afterwards, and with it that the job was claimed.
    async fn log(&self, lease: &Lease, events: Vec<NewEvent>) -> Result<Beat>;

    /// Ends the job with an outcome, records its files, its last words and the delivery of its webhook, in one
    /// transaction: the first valid outcome wins. However a job ends, its delivery is recorded with its outcome.
    ///
    /// Valid is an outcome of the job's latest attempt, even of one whose lease has expired in the meantime.
    ///
    /// # Errors
    ///
    /// [`Error::FileExists`](crate::Error::FileExists) when a path was recorded before.
    async fn finish(&self, lease: &Lease, product: Product) -> Result<Finish>;

    /// Gives the job back to its old place in the queue; ends it when the caller has asked to cancel. False when the
    /// lease was lost already, and nothing happened.
    async fn release(&self, lease: &Lease, why: Release) -> Result<bool>;

    /// From now on this process takes jobs under this name (the part before the slash in [`Claim::worker`]). Where a store
    /// can tell that a process is gone, [`reclaim_expired`](Store::reclaim_expired) takes back its leases at once.
    async fn begin_work(&self, process: &str) -> Result<()> {
        let _ = process;
        Ok(())
    }

    /// Why jobs cannot be taken up, where claims have failed in this process for a while and not just found nothing.
    fn stuck(&self) -> Option<crate::Error> {
        None
    }

    // --- Housekeeping, by anybody, as often as they like ---

    /// Takes back the leases that have expired. Their jobs go back to their old place in the queue with one more
    /// crash on their record, or, beyond `limits`, end with the outcome `set_aside`.
    async fn reclaim_expired(&self, limits: Limits, set_aside: Outcome) -> Result<Reclaimed>;

    /// Queued jobs whose start deadline has passed; [`end_unstarted`](Store::end_unstarted) ends them.
    async fn overdue(&self) -> Result<Vec<JobId>>;

    /// Ends a job that is in the queue. False when it is not there (any more), and nothing happened.
    async fn end_unstarted(&self, id: JobId, outcome: Outcome) -> Result<bool>;

    /// Deletes ended jobs that have been kept long enough, with all that belongs to them. Their files' rows stay until
    /// somebody has deleted the bytes, but end now, unless their caller has said when. Returns how many jobs, at most
    /// `limit`.
    async fn purge(&self, retention: Retention, limit: u32) -> Result<u64>;

    /// Deletes an ended job and all that belongs to it but its files' rows, which it returns, without those that another
    /// job's input refers to as well. `None` when there is no such job or it has not ended.
    async fn delete_job(&self, id: JobId) -> Result<Option<Vec<FileRecord>>>;

    /// [`purge`](Store::purge), which spares the jobs from the time when results were kept until somebody deleted them:
    /// nobody told their callers of an end.
    async fn purge_younger(&self, retention: Retention, limit: u32) -> Result<u64>;

    /// Whether there are jobs that [`purge_younger`](Store::purge_younger) spares.
    async fn has_older(&self) -> Result<bool>;

    // --- Webhooks ---

    /// Takes up to `limit` deliveries that are due, for as long as `lease` says.
    async fn claim_deliveries(&self, limit: u32, lease: DeliveryLease) -> Result<Vec<Delivery>>;

    /// Records how an attempt went and what follows. False when somebody else has claimed the delivery since; nothing
    /// was written then.
    async fn delivery_attempted(
        &self,
        delivery: &Delivery,
        attempt: DeliveryAttempt,
        next: NextDelivery,
    ) -> Result<bool>;

    /// When the next delivery will be due, leases included.
    async fn next_delivery_ms(&self) -> Result<Option<i64>>;

    /// The deliveries of a job, oldest first.
    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>>;

    /// Delivers a job's webhook once more, to the same URL. False when the job has none or has not ended.
    async fn redeliver(&self, id: JobId) -> Result<bool>;

    // --- Secrets ---

    /// The secrets for a purpose, oldest first. When there are none, `first` becomes the first, for everybody who asks
    /// at the same time.
    async fn secrets(&self, purpose: &str, first: SecretBytes) -> Result<Vec<SecretRecord>>;

    /// Adds a secret for a purpose.
    async fn add_secret(&self, purpose: &str, value: SecretBytes) -> Result<SecretRecord>;

    /// Removes a secret. False when there is none of that number.
    async fn remove_secret(&self, id: i64) -> Result<bool>;

    // --- Keys ---

    /// Records a new key. The secret stays with its owner: `secret_hash` is a digest of it.
    ///
    /// # Errors
    ///
    /// [`Error::KeyExists`](crate::Error::KeyExists) when id or hash was used before.
    async fn create_key(&self, id: &str, label: &str, secret_hash: [u8; 32]) -> Result<KeyRecord>;

    /// All keys, revoked ones too, oldest first.
    async fn list_keys(&self) -> Result<Vec<KeyRecord>>;

    /// Revokes a key. False when there is no such key or it was revoked before.
    async fn revoke_key(&self, id: &str) -> Result<bool>;

    /// The key whose secret has this hash, unless it was revoked.
    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<KeyRecord>>;

    /// The key of this id, unless it was revoked.
    async fn key(&self, id: &str) -> Result<Option<KeyRecord>>;

    /// Notes that the key was used now. Costs a commit: once a minute per key is plenty.
    async fn touch_key(&self, id: &str) -> Result<()>;

    /// Whether a key was ever made. From then on callers need one, even if all were revoked since: revoking the last
    /// key must not open the door. Asked with every call, so a no is good for a few milliseconds where another process
    /// makes the first key.
    async fn keys_required(&self) -> Result<bool>;

    // --- Visits ---

    /// Somebody has signed in on pages with this key, until then; `word_hash` is a digest of the word that their browser
    /// keeps. Of a key's visits the newest [`VISITS_MAX`](crate::VISITS_MAX) go on.
    async fn begin_visit(&self, word_hash: [u8; 32], key_id: &str, until_ms: i64) -> Result<()>;

    /// The key of the visit whose word has this hash; `None` where it has ended, or its key was revoked.
    async fn visit(&self, word_hash: &[u8; 32]) -> Result<Option<KeyRecord>>;

    /// Ends a visit: its word is worth nothing from now on. False when it has ended before.
    async fn end_visit(&self, word_hash: &[u8; 32]) -> Result<bool>;

    // --- Files ---

    /// Records a file that no job made, such as an upload.
    ///
    /// # Errors
    ///
    /// [`Error::FileExists`](crate::Error::FileExists) when the path was recorded before.
    async fn put_file(&self, file: FileRecord) -> Result<()>;

    /// The row of the file at this path.
    async fn file(&self, path: &str) -> Result<Option<FileRecord>>;

    /// The files that this job's input refers to ([`NewJob::given`]), by their paths.
    async fn given_files(&self, id: JobId) -> Result<Vec<FileRecord>>;

    /// The rows of up to `limit` files that have expired. Delete the bytes, then [`forget`](Store::forget_file) them.
    async fn expired_files(&self, limit: u32) -> Result<Vec<FileRecord>>;

    /// Removes the row of a file. False when there is none.
    async fn forget_file(&self, path: &str) -> Result<bool>;

    /// Whether files are ever kept here, see [`keeps_files_of`](Store::keeps_files_of).
    fn keeps_files(&self) -> bool {
        false
    }

    /// Whether the small files of this job should reach the disk together with its outcome, as [`Product::fresh`], because
    /// that is sooner. Their bytes are kept here until they are in their folder and
    /// [`settle_files`](Store::settle_files) says so, or the row of the file goes.
    fn keeps_files_of(&self, lease: &Lease) -> bool {
        let _ = lease;
        false
    }

    /// How many bytes are kept of how many files.
    async fn fresh_size(&self) -> Result<FreshSize> {
        Ok(FreshSize::default())
    }

    /// The paths of up to `limit` files whose bytes are kept, oldest first.
    async fn fresh_files(&self, limit: u32) -> Result<Vec<String>> {
        let _ = limit;
        Ok(Vec::new())
    }

    /// The bytes that are kept of the file at this path.
    async fn fresh_bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let _ = path;
        Ok(None)
    }

    /// These files are in their folder, durably: their bytes need not be kept any more. Returns those that have no row
    /// any more: they were deleted meanwhile, and have to go from the folder as well.
    async fn settle_files(&self, paths: Vec<String>) -> Result<Vec<String>> {
        drop(paths);
        Ok(Vec::new())
    }

    // --- What pages show ---

    /// Jobs newest first with input and outcome, page by page.
    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<Job>>;

    /// The latest successful job of each of these endpoints that has one; where `key_id` is given only of that key's
    /// jobs and those that were accepted without a key.
    async fn latest(&self, endpoints: &[&str], key_id: Option<&str>) -> Result<Vec<Job>>;

    /// The jobs that workers have, and which worker has them.
    async fn at_work(&self) -> Result<Vec<AtWork>>;

    /// Notes that a worker is there, and what it tells of itself. Workers that were silent for a day are forgotten.
    async fn announce_worker(&self, name: &str, about: Value) -> Result<()>;

    /// Forgets a worker that goes away. False when it is not known.
    async fn retire_worker(&self, name: &str) -> Result<bool>;

    /// The workers that have announced themselves since then, by name.
    async fn workers(&self, since_ms: i64) -> Result<Vec<WorkerRecord>>;

    // --- For whoever watches ---

    /// How the database stands, in numbers. The work has a bound, however many jobs there are.
    async fn census(&self) -> Result<Census>;

    /// Counts up to `limit` file rows whose paths follow `after`.
    async fn count_files(&self, after: Option<String>, limit: u32) -> Result<FilesPart>;

    // --- The store itself ---

    /// Announces changes made through this store, each after its commit. Subscribe before looking, or the change
    /// between the two is missed; see [`Change`] for what is promised.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;

    /// Proves that what is written now is there after the next start; for readiness probes. Writes, at most once a second.
    ///
    /// # Errors
    ///
    /// [`Error::Replaced`](crate::Error::Replaced) when the database is another one by now.
    async fn prove(&self) -> Result<()>;

    /// The folder in which the database is, if it is a file.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// How much space is left where the database is, where that is known.
    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Waits for the writes under way and closes the database. Dropping a store without it loses nothing that was
    /// acknowledged.
    async fn close(&self);
}
