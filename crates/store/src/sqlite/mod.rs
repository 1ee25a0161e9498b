//! The store in a SQLite file: one writer that groups commits, a few readers beside it.
//!
//! Several processes may open the same file; they take turns with writing. Changes are announced only to the process
//! that made them, so other processes poll.

mod admission;
mod calls;
mod census;
mod check;
mod claims;
mod db;
mod deliveries;
mod errors;
mod files;
mod flusher;
mod history;
mod keys;
mod known_files;
mod leases;
mod lives;
mod migrate;
mod open;
#[cfg(test)]
mod plans;
mod probe;
mod readers;
mod reads;
mod retention;
mod rows;
mod rush;
mod same_file;
mod secrets;
mod snapshot;
mod steps;
mod survey;
mod unwritten;
mod visits;
mod whose;
mod workers;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::broadcast;

pub use self::known_files::KnownFile;
use self::leases::Token;
use self::lives::Lives;
pub use self::open::Options;
use self::probe::Probe;
use self::readers::Readers;
use self::rush::Rush;
use self::same_file::SameFile;
pub use self::snapshot::Snapshot;
pub use self::survey::{Age, End, Survey};
use self::unwritten::{Unwritten, may_be_handed};
use self::writer::{Tx, Writer};
use crate::clock::Setback;
use crate::keyed::Keyed;
use crate::seat::Seats;
use crate::stuck::Stuck;
use crate::{
    Admission, AtWork, Beat, Cancel, Cause, Census, Change, Claim, Claimed, Clock, Count, Delivery, DeliveryAttempt,
    DeliveryLease, DeliveryRecord, Enqueued, Error, Event, EventKind, FileRecord, FilesPart, Finish, FreshSize,
    HistoryFilter, Job, JobFilter, JobId, JobSummary, KeyRecord, Lease, Limits, NewEvent, NewJob, NextDelivery,
    Outcome, Product, Reclaimed, Release, Result, Retention, Seat, SecretBytes, SecretRecord, Store, WorkerRecord,
};

/// The store in a SQLite file.
///
/// Write-ahead log, flushed before anything is acknowledged: that survives a power cut. What only workers note for each
/// other (claims, signs of life, lines of a log) survives the end of every process; a power cut, which ends them all, may
/// take the latest of it back, and then a job is run once more. Should a flush ever fail, nothing is accepted any more
/// until the database is opened anew.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    clock: Arc<dyn Clock>,
    changes: broadcast::Sender<Change>,
    keyed: Keyed,
    setback: Setback,
    rush: Rush,
    seats: Arc<Seats>,
    unwritten: Unwritten,
    stuck: Stuck,
    probe: Probe,
    same_file: SameFile,
    lives: Arc<Lives>,
    /// The file, as SQLite names it.
    file: PathBuf,
    /// Where the file is.
    folder: PathBuf,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Hands a job to a worker that waits, and returns it as it goes there; `None` when it has to stand in line.
    fn hand(&self, new: &NewJob, admission: &Admission) -> Result<Option<Job>> {
        if !may_be_handed(new, admission) || !self.seats.anybody(&new.endpoint) {
            return Ok(None);
        }
        // better refused than run for nothing
        self.writer.check()?;
        self.same_file.check()?;
        self.unwritten.refusal().map_or(Ok(()), Err)?;
        let now_ms = self.clock.now_ms();
        let job = unwritten::running(new.clone(), now_ms);
        // inputs may have megabytes: they are copied before anybody has to wait for it
        let (theirs, ours) = (job.clone(), job.clone());
        if !self.seats.hand(&new.endpoint, |claim| self.unwritten.hand(theirs, ours, claim)) {
            return Ok(None);
        }
        // the task has to outlive a caller who goes away
        tokio::spawn(self.unwritten.clone().watch(job.id, self.writer.clone()));
        Ok(Some(job))
    }

    /// Sees to it that the job of a lease is in the database.
    async fn written(&self, lease: &Lease) -> Result<Token> {
        self.unwritten.write_down(lease.job.id, &self.writer).await?;
        Ok(Token::from(lease))
    }

    /// Reads something about a job, which is written down first if need be.
    async fn look<T>(&self, id: JobId, read: fn(&Connection, JobId) -> Result<Option<T>>) -> Result<Option<T>>
    where
        T: Send + 'static,
    {
        // asked before reading: what is written in between is there when it is read again
        let is_unwritten = self.unwritten.has(id);
        let found = self.readers.glance(move |db| read(db, id)).await?;
        if found.is_some() || !is_unwritten {
            return Ok(found);
        }
        self.unwritten.answer_for(id, &self.writer).await?;
        self.readers.glance(move |db| read(db, id)).await
    }

    /// The processes that are gone and have left leases here.
    async fn dead(&self) -> Vec<lives::Dead> {
        let lives = self.lives.clone();
        let found = tokio::task::spawn_blocking(move || lives.dead()).await.map_err(std::io::Error::other).flatten();
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "who is gone cannot be told; their leases end by themselves");
            Vec::new()
        })
    }

    /// Who hears of an end may rely on it: waits until it is on disk.
    async fn settled_if(&self, has_ended: bool) -> Result<()> {
        if has_ended { self.writer.settled().await } else { Ok(()) }
    }
}

/// So many waiting jobs are counted in less time than it takes to ask another thread.
const SHORT_QUEUE: i64 = 500;

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Result<Option<u64>> {
    let system = rustix::fs::statvfs(folder).map_err(|error| Error::Database(Cause::new(error)))?;
    Ok(Some(system.f_bavail.saturating_mul(system.f_frsize)))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Result<Option<u64>> {
    Ok(None)
}

// Writes and long reads go elsewhere as closures over owned values, because they outlive a caller who goes away.
#[async_trait]
impl Store for SqliteStore {
    async fn enqueue(&self, job: NewJob, admission: Admission) -> Result<Enqueued> {
        if let Some(job) = self.hand(&job, &admission)? {
            return Ok(Enqueued::New { job, position: 0 });
        }
        self.same_file.check()?;
        // Whoever repeats its word is told that the job is there, so then it has to be on disk.
        let is_submit = !admission.quiet;
        let told = is_submit || admission.once.is_some();
        let write = move |tx: &mut Tx| calls::enqueue(tx, job, &admission);
        let enqueued = if told { self.writer.write(write).await } else { self.writer.note(write).await };
        if is_submit && matches!(enqueued, Ok(Enqueued::New { .. })) {
            self.rush.came();
        }
        enqueued
    }

    async fn enqueue_ended(&self, job: NewJob, admission: Admission, outcome: Outcome) -> Result<Enqueued> {
        self.same_file.check()?;
        self.writer.write(move |tx| calls::enqueue_ended(tx, job, &admission, outcome)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>> {
        let job = self.look(id, reads::job).await?;
        self.settled_if(job.as_ref().is_some_and(|job| job.state.is_end())).await?;
        Ok(job)
    }

    async fn summary(&self, id: JobId) -> Result<Option<JobSummary>> {
        let summary = self.look(id, reads::summary).await?;
        self.settled_if(summary.as_ref().is_some_and(|job| job.state.is_end())).await?;
        Ok(summary)
    }

    async fn outcome(&self, id: JobId) -> Result<Option<Outcome>> {
        let outcome = self.look(id, reads::outcome).await?;
        self.settled_if(outcome.is_some()).await?;
        Ok(outcome)
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>> {
        match self.readers.glance(move |db| reads::position(db, id, SHORT_QUEUE)).await? {
            Some(None) => Ok(self.readers.read(move |db| reads::position(db, id, i64::MAX)).await?.flatten()),
            found => Ok(found.flatten()),
        }
    }

    async fn events(&self, id: JobId, after_seq: i64) -> Result<Vec<Event>> {
        self.readers.glance(move |db| reads::events(db, id, after_seq)).await
    }

    async fn cancel(&self, id: JobId, outcome: Outcome) -> Result<Cancel> {
        self.unwritten.answer_for(id, &self.writer).await?;
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
        self.rush.pass().await;
        let claim = claim.clone();
        let claimed = self.writer.note(|tx| claims::claim(tx, claim)).await;
        self.stuck.note(&claimed, Option::is_some);
        claimed
    }

    async fn claim_or_sit(&self, claim: &Claim) -> Result<Claimed> {
        if let Some(seat) = self.seats.sit_again(claim) {
            return Ok(Claimed::Nothing(seat));
        }
        self.rush.pass().await;
        let (wanted, seats) = (claim.clone(), self.seats.clone());
        // who announces is the writer, so nobody is called while it looks
        let look = move |tx: &mut Tx| Ok((claims::claim(tx, wanted)?, seats.calls()));
        let looked = self.writer.note(look).await;
        self.stuck.note(&looked, |(lease, _)| lease.is_some());
        let seat = match looked? {
            (Some(lease), _) => return Ok(Claimed::Job(Box::new(lease))),
            // with a limit for each key a job has to be counted before it runs
            (None, _) if claim.per_key.is_some() => Seat::outside(),
            (None, calls) => self.seats.sit(claim.clone(), calls),
        };
        Ok(Claimed::Nothing(seat))
    }

    async fn start(&self, lease: &Lease) -> Result<Beat> {
        let token = self.written(lease).await?;
        self.writer.note(move |tx| leases::start(tx, token)).await
    }

    async fn heartbeat(&self, lease: &Lease, lease_ms: i64) -> Result<Beat> {
        let token = self.written(lease).await?;
        self.writer.note(move |tx| leases::heartbeat(tx, token, lease_ms)).await
    }

    async fn log(&self, lease: &Lease, events: Vec<NewEvent>) -> Result<Beat> {
        let token = self.written(lease).await?;
        // What was bought must not be bought again.
        let bought = events.iter().any(|event| matches!(event.kind, EventKind::Submitted { .. }));
        let write = move |tx: &mut Tx| leases::log(tx, token, &events);
        if bought { self.writer.write(write).await } else { self.writer.note(write).await }
    }

    async fn finish(&self, lease: &Lease, product: Product) -> Result<Finish> {
        self.unwritten.finish(Token::from(lease), product, &self.writer).await
    }

    async fn release(&self, lease: &Lease, why: Release) -> Result<bool> {
        let token = self.written(lease).await.inspect_err(|_| self.unwritten.give_up(lease.job.id))?;
        self.writer.write(move |tx| leases::release(tx, token, why)).await
    }

    async fn begin_work(&self, process: &str) -> Result<()> {
        let (lives, process) = (self.lives.clone(), process.to_owned());
        let begun = tokio::task::spawn_blocking(move || lives.begin(&process)).await.map_err(|_| Error::Closed)?;
        // leases end by themselves
        begun.unwrap_or_else(|error| tracing::warn!(%error, "no lock beside the database: leases of a crash last on"));
        Ok(())
    }

    fn stuck(&self) -> Option<Error> {
        self.stuck.why()
    }

    async fn reclaim_expired(&self, limits: Limits, set_aside: Outcome) -> Result<Reclaimed> {
        let now_ms = self.clock.now_ms();
        let shift = self.setback.shift(now_ms);
        let dead = self.dead().await;
        let gone: Vec<String> = dead.iter().map(|dead| dead.process.clone()).collect();
        let reclaimed = self.writer.write(move |tx| {
            shift.map_or(Ok(()), |shift| leases::shift(tx, shift))?;
            gone.iter().try_for_each(|process| leases::expire(tx, process))?;
            leases::reclaim_expired(tx, limits, &set_aside)
        });
        let reclaimed = reclaimed.await?;
        dead.into_iter().for_each(lives::Dead::bury);
        self.setback.looked(now_ms);
        Ok(reclaimed)
    }

    async fn overdue(&self) -> Result<Vec<JobId>> {
        let now_ms = self.clock.now_ms();
        self.readers.read(move |db| reads::overdue(db, now_ms)).await
    }

    async fn end_unstarted(&self, id: JobId, outcome: Outcome) -> Result<bool> {
        self.writer.write(move |tx| calls::end_unstarted(tx, id, &outcome)).await
    }

    async fn purge(&self, retention: Retention, limit: u32) -> Result<u64> {
        self.writer.write(move |tx| retention::purge(tx, retention, limit, false)).await
    }

    async fn purge_younger(&self, retention: Retention, limit: u32) -> Result<u64> {
        self.writer.write(move |tx| retention::purge(tx, retention, limit, true)).await
    }

    async fn has_older(&self) -> Result<bool> {
        self.readers.read(retention::has_older).await
    }

    async fn delete_job(&self, id: JobId) -> Result<Option<Vec<FileRecord>>> {
        self.writer.write(move |tx| retention::delete_job(tx, id)).await
    }

    async fn claim_deliveries(&self, limit: u32, lease: DeliveryLease) -> Result<Vec<Delivery>> {
        let claimed = self.writer.note(move |tx| deliveries::claim(tx, limit, lease)).await?;
        if !claimed.is_empty() {
            // what is told to strangers must not be taken back
            self.writer.settled().await?;
        }
        Ok(claimed)
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
        self.readers.glance(deliveries::next_ms).await
    }

    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>> {
        self.readers.glance(move |db| deliveries::of_job(db, id)).await
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
        let created = self.writer.write(move |tx| keys::create(tx, id, label, secret_hash)).await?;
        self.keyed.now();
        Ok(created)
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
        self.readers.glance(move |db| keys::by_hash(db, secret_hash)).await
    }

    async fn key(&self, id: &str) -> Result<Option<KeyRecord>> {
        let id = id.to_owned();
        self.readers.glance(move |db| keys::by_id(db, &id)).await
    }

    async fn touch_key(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.writer.note(move |tx| keys::touch(tx, &id)).await
    }

    async fn keys_required(&self) -> Result<bool> {
        self.keyed.or_ask(|| self.readers.glance(keys::any)).await
    }

    async fn begin_visit(&self, word_hash: [u8; 32], key_id: &str, until_ms: i64) -> Result<()> {
        let key_id = key_id.to_owned();
        self.writer.write(move |tx| visits::begin(tx, word_hash, &key_id, until_ms)).await
    }

    async fn visit(&self, word_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
        let (word_hash, now_ms) = (*word_hash, self.clock.now_ms());
        self.readers.glance(move |db| visits::key(db, word_hash, now_ms)).await
    }

    async fn end_visit(&self, word_hash: &[u8; 32]) -> Result<bool> {
        let word_hash = *word_hash;
        self.writer.write(move |tx| visits::end(tx, word_hash)).await
    }

    async fn put_file(&self, file: FileRecord) -> Result<()> {
        self.writer.write(|tx| files::insert(tx, file)).await
    }

    async fn file(&self, path: &str) -> Result<Option<FileRecord>> {
        let path = path.to_owned();
        self.readers.glance(move |db| files::by_path(db, &path)).await
    }

    async fn given_files(&self, id: JobId) -> Result<Vec<FileRecord>> {
        self.readers.glance(move |db| files::given(db, id)).await
    }

    async fn expired_files(&self, limit: u32) -> Result<Vec<FileRecord>> {
        let now_ms = self.clock.now_ms();
        self.readers.read(move |db| files::expired(db, now_ms, limit)).await
    }

    async fn forget_file(&self, path: &str) -> Result<bool> {
        let path = path.to_owned();
        self.writer.write(move |tx| files::forget(tx, &path)).await
    }

    fn keeps_files(&self) -> bool {
        true
    }

    fn keeps_files_of(&self, lease: &Lease) -> bool {
        // an instant job has one flush to wait for; where many jobs wait their files share one as well, and are written once
        self.unwritten.has(lease.job.id)
    }

    async fn fresh_size(&self) -> Result<FreshSize> {
        self.readers.read(files::fresh_size).await
    }

    async fn fresh_files(&self, limit: u32) -> Result<Vec<String>> {
        self.readers.glance(move |db| files::fresh(db, limit)).await
    }

    async fn fresh_bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = path.to_owned();
        self.readers.glance(move |db| files::fresh_bytes(db, &path)).await
    }

    async fn settle_files(&self, paths: Vec<String>) -> Result<Vec<String>> {
        self.writer.note(move |tx| files::settle(tx, paths)).await
    }

    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.readers.read(|db| history::history(db, filter)).await
    }

    async fn latest(&self, endpoints: &[&str], key_id: Option<&str>) -> Result<Vec<Job>> {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        let key_id = key_id.map(str::to_owned);
        self.readers.read(move |db| history::latest(db, &endpoints, key_id.as_deref())).await
    }

    async fn at_work(&self) -> Result<Vec<AtWork>> {
        self.readers.read(history::at_work).await
    }

    async fn announce_worker(&self, name: &str, about: Value) -> Result<()> {
        let name = name.to_owned();
        self.writer.write(move |tx| workers::announce(tx, &name, &about)).await
    }

    async fn retire_worker(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.writer.write(move |tx| workers::retire(tx, &name)).await
    }

    async fn workers(&self, since_ms: i64) -> Result<Vec<WorkerRecord>> {
        self.readers.read(move |db| workers::since(db, since_ms)).await
    }

    async fn census(&self) -> Result<Census> {
        let file = self.file.clone();
        self.readers.read(move |db| census::take(db, &file)).await
    }

    async fn count_files(&self, after: Option<String>, limit: u32) -> Result<FilesPart> {
        self.readers.read(move |db| census::files(db, after, limit)).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        self.writer.check()?;
        self.readers.glance(migrate::version).await.map(|_| ())
    }

    async fn prove(&self) -> Result<()> {
        self.writer.check()?;
        self.same_file.check()?;
        self.stuck.why().map_or(Ok(()), Err)?;
        self.probe.prove(&self.writer).await
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.folder)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        free_bytes(&self.folder)
    }

    async fn close(&self) {
        self.lives.end();
        self.same_file.close();
        // The last connection to close writes the log back into the database; it has to be one that may write.
        self.readers.close().await;
        self.writer.close().await;
    }
}
