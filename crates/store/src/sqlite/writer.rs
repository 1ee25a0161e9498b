//! The one writer. SQLite lets one connection write at a time, so the writes that arrive while a commit is under way share
//! the next one, and the flush after it: under load that costs the same for a hundred jobs as for one.
//!
//! It is a thread of its own, because everything it does may wait for the disk. Each write of a group has a savepoint of
//! its own: one that fails takes nothing of its neighbours with it. Nobody is answered before the commit; if the
//! commit fails, everybody gets its error.
//!
//! What a caller may rely on ([`Writer::write`]) is flushed to the disk before its answer, by the [flusher](super::flusher)
//! and while the next group is written. What only workers tell each other ([`Writer::note`]), such as who runs a job, is
//! not flushed for its own sake: it is in the log at once, survives the end of the process, and reaches the disk with the
//! next flush, because the log is flushed in order and as a whole. A power cut before that takes it back, together with
//! every process that knew of it; never what came earlier.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use scumble_meters::Store as Meter;
use tokio::sync::{mpsc, oneshot};

use super::db::Db;
use super::flusher::{Flush, Flushed, Flusher};
use crate::{Change, Clock, Error, Result};

/// Writes that may wait. More callers than this wait for their place in line.
const WAITING_MAX: usize = 1024;

/// Writes that share one commit.
const GROUP_MAX: usize = 256;

/// The handle to the writer's thread. Cheap to clone. The thread ends when all are dropped, after the writes that wait.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    flushed: Arc<Flushed>,
}

/// What a write sees: the open transaction.
pub(super) struct Tx {
    /// The connection with the transaction.
    pub(super) conn: Connection,
    /// The time of this write.
    pub(super) now_ms: i64,
    /// What to announce once it is committed.
    pub(super) changes: Vec<Change>,
}

/// Tells of a change that was committed.
pub(super) type Announce = Box<dyn Fn(Change) + Send>;

enum Message {
    Write(Box<dyn Op>),
    /// Finish what waits, take nothing more, tell when done.
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the writer. Commits of `conn` append to a log that `flush` brings to the disk.
    pub(super) fn start(
        conn: Connection,
        flush: Flush,
        clock: Arc<dyn Clock>,
        announce: Announce,
        meter: Meter,
    ) -> std::io::Result<Self> {
        let (queue, messages) = mpsc::channel(WAITING_MAX);
        let flusher = Flusher::start(flush, meter.clone())?;
        let flushed = flusher.flushed().clone();
        let tx = Tx { conn, now_ms: 0, changes: Vec::new() };
        let writing = Writing { tx, flusher, clock, announce, meter };
        std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writing.run(messages))?;
        Ok(Self { queue, flushed })
    }

    /// Has the writer do `write`; returns its result once it is on disk.
    pub(super) async fn write<T, W>(&self, write: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    {
        self.wait_for(write, true).await
    }

    /// Has the writer do `write`; returns its result once everybody can read it. A power cut may take it back.
    pub(super) async fn note<T, W>(&self, write: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    {
        self.wait_for(write, false).await
    }

    async fn wait_for<T, W>(&self, write: W, flush: bool) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { write: Some(write), result: Err(Error::Closed), reply, flush };
        self.queue.send(Message::Write(Box::new(waiting))).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits until everything that readers can see now is on disk, and nothing takes it back.
    pub(super) async fn settled(&self) -> Result<()> {
        self.flushed.settled().await
    }

    /// Fails once nothing can be written any more.
    pub(super) fn check(&self) -> Result<()> {
        self.flushed.check()
    }

    /// Lets the waiting writes finish and closes the connection.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = closed.await;
        }
    }
}

/// What the writer's thread has.
struct Writing {
    tx: Tx,
    flusher: Flusher,
    clock: Arc<dyn Clock>,
    announce: Announce,
    meter: Meter,
}

impl Writing {
    fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut closing = Vec::new();
        let mut messages = Vec::new();
        while queue.blocking_recv_many(&mut messages, GROUP_MAX) > 0 {
            let mut group = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Write(op) => group.push(op),
                    Message::Close(reply) => {
                        queue.close();
                        closing.push(reply);
                    }
                }
            }
            self.write(group);
        }
        self.flusher.finish();
        if let Err((_, error)) = self.tx.conn.close() {
            tracing::warn!(%error, "the database did not close cleanly; nothing is lost");
        }
        for reply in closing {
            let _ = reply.send(());
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Op>]) -> Result<()> {
        let began = Instant::now();
        let committed = write_group(&mut self.tx, group, &*self.clock);
        self.meter.commit.observe(began.elapsed().as_secs_f64());
        committed.inspect_err(|_| self.meter.failures.inc())
    }

    /// Commits a group, announces what it changed, and has everybody answered who is in it.
    fn write(&mut self, mut group: Vec<Box<dyn Op>>) {
        let begun = group.iter().any(|op| op.wants_flush()).then(|| self.flusher.begin());
        let committed = self.flusher.flushed().check().and_then(|()| self.commit(&mut group));
        let (told, noted): (Vec<_>, Vec<_>) = group.into_iter().partition(|op| op.wants_flush());
        // the disk is the slowest, so it begins first; still nobody is answered before everybody was told
        let telling = self.flusher.hold_answers();
        if let Some(begun) = begun {
            self.flusher.flush(begun, committed.clone(), told);
        }
        for change in self.tx.changes.drain(..).filter(|_| committed.is_ok()) {
            (self.announce)(change);
        }
        drop(telling);
        for op in noted {
            op.answer(committed.clone());
        }
    }
}

/// Does all writes of a group in one transaction.
fn write_group(tx: &mut Tx, group: &mut [Box<dyn Op>], clock: &dyn Clock) -> Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    // IMMEDIATE takes the write lock now, where waiting for it is possible; later it would not be.
    tx.conn.run("BEGIN IMMEDIATE", [])?;
    let committed = write_each(tx, group, clock).and_then(|()| tx.conn.run("COMMIT", []));
    if committed.is_err() {
        // Fails when SQLite has rolled back by itself, as it does when the disk is full. Either way nothing is left.
        let _ = tx.conn.run("ROLLBACK", []);
    }
    committed.map(|_| ())
}

/// An error is one of the whole group; a write that fails alone keeps its own.
fn write_each(tx: &mut Tx, group: &mut [Box<dyn Op>], clock: &dyn Clock) -> Result<()> {
    if let [alone] = group {
        // nobody has to be kept from its failure: the transaction does for a savepoint
        tx.now_ms = clock.now_ms();
        return alone.run(tx);
    }
    for op in group {
        tx.now_ms = clock.now_ms();
        let announced = tx.changes.len();
        tx.conn.run("SAVEPOINT one", [])?;
        if let Err(error) = op.run(tx) {
            tx.changes.truncate(announced);
            // Without its savepoint the transaction is gone, and with it the work of the neighbours.
            tx.conn.run("ROLLBACK TO one", []).map_err(|_| error)?;
        }
        tx.conn.run("RELEASE one", [])?;
    }
    Ok(())
}

/// A write of whatever result type, waiting in line.
pub(super) trait Op: Send {
    /// Does the write and keeps its result; an error is also returned, for the savepoint's sake.
    fn run(&mut self, tx: &mut Tx) -> Result<()>;

    /// Whether its caller is told that it is on disk.
    fn wants_flush(&self) -> bool;

    /// Answers the caller.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Waiting<T, W> {
    /// Taken when it runs.
    write: Option<W>,
    result: Result<T>,
    reply: oneshot::Sender<Result<T>>,
    flush: bool,
}

impl<T, W> Op for Waiting<T, W>
where
    T: Send,
    W: FnOnce(&mut Tx) -> Result<T> + Send,
{
    fn run(&mut self, tx: &mut Tx) -> Result<()> {
        if let Some(write) = self.write.take() {
            self.result = write(tx);
        }
        self.result.as_ref().map(|_| ()).map_err(Error::clone)
    }

    fn wants_flush(&self) -> bool {
        self.flush
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        // A caller who went away gets no answer.
        let _ = self.reply.send(committed.and(self.result));
    }
}

#[cfg(test)]
mod tests;
