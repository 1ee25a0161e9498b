//! Waiting for the disk, beside the writer.
//!
//! SQLite can flush its log within each commit, and then nothing else is written meanwhile. Here it only appends, and the
//! log is flushed from a thread of its own while the next writes are made: one flush for all commits that were appended
//! before it began. The log is replayed in its order up to where it ends, so a flush covers everything before it. The
//! writer never waits for it: a disk that takes its time must not keep a worker from giving a sign of life.
//!
//! Readers see a commit a moment before it is on disk. Whoever passes on what must not be taken back waits until it is
//! ([`Flushed::settled`]).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use scumble_meters::Store as Meter;
use tokio::sync::watch;

use super::writer::Op;
use crate::{Cause, Error, Result};

/// Makes everything appended to the log so far survive a power cut.
pub(super) type Flush = Box<dyn FnMut() -> io::Result<()> + Send>;

/// The flush of the log that SQLite keeps beside the database file at `path`.
///
/// # Errors
/// There is no log, or it cannot be opened.
pub(super) fn log_beside(path: &Path) -> io::Result<Flush> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Some systems flush only what may be written. SQLite's locks are on other files, so that closing this one frees none.
    let log = File::options().read(true).write(true).open(PathBuf::from(log))?;
    Ok(Box::new(move || log.sync_data()))
}

/// The flushing thread.
pub(super) struct Flusher {
    queue: Sender<Batch>,
    thread: JoinHandle<()>,
    flushed: Arc<Flushed>,
    /// Held while nobody is to be answered.
    answers: Arc<Mutex<()>>,
}

/// How much of what was committed is on disk.
pub(super) struct Flushed {
    /// Batches that readers may see already. Counted before they are committed.
    begun: AtomicU64,
    /// Batches that are on disk, or why none will be any more.
    through: watch::Sender<Result<u64>>,
}

/// The writes of one commit whose callers wait for the disk.
struct Batch {
    begun: Begun,
    committed: Result<()>,
    ops: Vec<Box<dyn Op>>,
}

/// The number of a batch that is about to be committed.
pub(super) struct Begun(u64);

impl Flusher {
    /// Starts the thread.
    pub(super) fn start(flush: Flush, meter: Meter) -> io::Result<Self> {
        let flushed = Arc::new(Flushed { begun: AtomicU64::new(0), through: watch::Sender::new(Ok(0)) });
        let (queue, batches) = mpsc::channel();
        let answers = Arc::<Mutex<()>>::default();
        let (told, may_answer) = (flushed.clone(), answers.clone());
        let thread = std::thread::Builder::new().name("store-flusher".to_owned());
        let thread = thread.spawn(move || run(timed(flush, meter), &batches, &told, &may_answer))?;
        Ok(Self { queue, thread, flushed, answers })
    }

    /// How far it is.
    pub(super) fn flushed(&self) -> &Arc<Flushed> {
        &self.flushed
    }

    /// To be called before a commit that somebody waits for.
    pub(super) fn begin(&self) -> Begun {
        Begun(self.flushed.begun.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Until this is dropped nobody is answered, whatever is on disk.
    pub(super) fn hold_answers(&self) -> MutexGuard<'_, ()> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `ops` once the commit is on disk, or why it was not made.
    pub(super) fn flush(&self, begun: Begun, committed: Result<()>, ops: Vec<Box<dyn Op>>) {
        if let Err(mpsc::SendError(batch)) = self.queue.send(Batch { begun, committed, ops }) {
            // the thread is gone, and nobody flushes any more
            answer(batch.ops, &Err(Error::Closed));
        }
    }

    /// Flushes what waits and ends the thread.
    pub(super) fn finish(self) {
        drop(self.queue);
        if self.thread.join().is_err() {
            tracing::error!("the thread that flushes the database's log ended unexpectedly");
        }
    }
}

impl Flushed {
    /// Waits until everything that readers can see now is on disk.
    ///
    /// # Errors
    /// It will never be.
    pub(super) async fn settled(&self) -> Result<()> {
        let begun = self.begun.load(Ordering::Acquire);
        let mut through = self.through.subscribe();
        let reached = through.wait_for(|through| through.as_ref().map_or(true, |number| *number >= begun)).await;
        reached.map_err(|_| Error::Closed)?.as_ref().map(|_| ()).map_err(Error::clone)
    }

    /// Whether what is committed still gets to the disk.
    ///
    /// # Errors
    /// A flush failed. What the system did with the pages nobody knows, and flushing them once more would not tell
    /// either; the log is read anew at the next start.
    pub(super) fn check(&self) -> Result<()> {
        self.through.borrow().as_ref().map(|_| ()).map_err(Error::clone)
    }
}

/// The same, with the time that it takes measured.
fn timed(mut flush: Flush, meter: Meter) -> Flush {
    Box::new(move || {
        let began = Instant::now();
        let flushed = flush();
        meter.flush.observe(began.elapsed().as_secs_f64());
        flushed.inspect_err(|_| meter.failures.inc())
    })
}

fn run(mut flush: Flush, queue: &Receiver<Batch>, flushed: &Flushed, answers: &Mutex<()>) {
    while let Ok(first) = queue.recv() {
        let batches: Vec<Batch> = std::iter::once(first).chain(queue.try_iter()).collect();
        let mut reached = flushed.check();
        if reached.is_ok() && batches.iter().any(|batch| batch.committed.is_ok()) {
            reached = flush().map_err(|error| {
                tracing::error!(%error, "the database's log cannot be flushed; nothing is accepted until the next start");
                Error::Unflushed(Cause::new(error))
            });
        }
        drop(answers.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(last) = batches.last() {
            let through = reached.clone().map(|()| last.begun.0);
            flushed.through.send_modify(|known| *known = through);
        }
        for Batch { committed, ops, .. } in batches {
            answer(ops, &committed.and(reached.clone()));
        }
    }
}

fn answer(ops: Vec<Box<dyn Op>>, committed: &Result<()>) {
    for op in ops {
        op.answer(committed.clone());
    }
}
