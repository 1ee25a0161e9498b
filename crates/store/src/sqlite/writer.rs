//! The one writer. SQLite lets one connection write at a time and each commit waits for the disk, so the writes that
//! arrive while a commit is under way share the next one: under load a commit costs the same for a hundred jobs as
//! for one.
//!
//! It is a thread of its own, because everything it does waits for the disk. Each write of a group has a savepoint of
//! its own: one that fails takes nothing of its neighbours with it. Nobody is answered before the commit; if the
//! commit fails, everybody gets its error.
//!
//! What a caller may rely on ([`Writer::write`]) is flushed to the disk before its answer. What only workers tell each
//! other ([`Writer::note`]), such as who runs a job, is not flushed for its own sake: it is in the log at once, survives
//! the end of the process, and reaches the disk with the next flush, because the log is flushed in order and as a whole.
//! A power cut before that takes it back, together with every process that knew of it; never what came earlier.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::db::Db;
use crate::{Change, Clock, Error, Result};

/// Writes that may wait. More callers than this wait for their place in line.
const WAITING_MAX: usize = 1024;

/// Writes that share one commit.
const GROUP_MAX: usize = 256;

/// The setting that says when the disk is waited for.
const SYNCHRONOUS: &str = "synchronous";
/// Each commit flushes the log.
const FLUSH: &str = "FULL";
/// The log is flushed before it is written back into the database, so that the two always fit together.
const NO_FLUSH: &str = "NORMAL";

/// The handle to the writer's thread. The thread ends when this is dropped, after the writes that wait.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
}

/// What a write sees: the open transaction.
pub(super) struct Tx {
    /// The connection with the transaction.
    pub(super) conn: Connection,
    /// The time of this write.
    pub(super) now_ms: i64,
    /// What to announce once it is committed.
    pub(super) changes: Vec<Change>,
    /// Whether the connection flushes what it commits, once that was settled.
    flushes: Option<bool>,
}

enum Message {
    Write(Box<dyn Op>),
    /// Finish what waits, take nothing more, tell when done.
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the writer.
    pub(super) fn start(
        conn: Connection,
        clock: Arc<dyn Clock>,
        announce: broadcast::Sender<Change>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let tx = Tx { conn, now_ms: 0, changes: Vec::new(), flushes: None };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        thread.spawn(move || run(tx, &*clock, &announce, receiver))?;
        Ok(Self { queue: sender })
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

    /// Lets the waiting writes finish and closes the connection.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = closed.await;
        }
    }
}

fn run(mut tx: Tx, clock: &dyn Clock, announce: &broadcast::Sender<Change>, mut queue: mpsc::Receiver<Message>) {
    let mut closing = Vec::new();
    let mut messages = Vec::new();
    let mut group = Vec::new();
    while queue.blocking_recv_many(&mut messages, GROUP_MAX) > 0 {
        for message in messages.drain(..) {
            match message {
                Message::Write(op) => group.push(op),
                Message::Close(reply) => {
                    queue.close();
                    closing.push(reply);
                }
            }
        }

        let committed = write_group(&mut tx, &mut group, clock);
        for change in tx.changes.drain(..).filter(|_| committed.is_ok()) {
            // Nobody listening is fine.
            let _ = announce.send(change);
        }
        for op in group.drain(..) {
            op.answer(committed.clone());
        }
    }
    if let Err((_, error)) = tx.conn.close() {
        tracing::warn!(%error, "the database did not close cleanly; nothing is lost");
    }
    for reply in closing {
        let _ = reply.send(());
    }
}

impl Tx {
    /// Whether the commits from now on wait for the disk. Only between two transactions.
    fn flush_commits(&mut self, flush: bool) -> Result<()> {
        if self.flushes != Some(flush) {
            self.conn.pragma_update(None, SYNCHRONOUS, if flush { FLUSH } else { NO_FLUSH })?;
            self.flushes = Some(flush);
        }
        Ok(())
    }
}

/// Does all writes of a group in one transaction.
fn write_group(tx: &mut Tx, group: &mut [Box<dyn Op>], clock: &dyn Clock) -> Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    tx.flush_commits(group.iter().any(|op| op.wants_flush()))?;
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
trait Op: Send {
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
