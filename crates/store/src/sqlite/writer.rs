//! The one writer. SQLite lets one connection write at a time and each commit waits for the disk, so the writes that
//! arrive while a commit is under way share the next one: under load a commit costs the same for a hundred jobs as
//! for one.
//!
//! It is a thread of its own, because everything it does waits for the disk. Each write of a group has a savepoint of
//! its own: one that fails takes nothing of its neighbours with it. Nobody is answered before the commit; if the
//! commit fails, everybody gets its error.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::db::Db;
use crate::{Change, Clock, Error, Result};

/// Writes that may wait. More callers than this wait for their place in line.
const WAITING_MAX: usize = 1024;

/// Writes that share one commit.
const GROUP_MAX: usize = 256;

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
        let tx = Tx { conn, now_ms: 0, changes: Vec::new() };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        thread.spawn(move || run(tx, &*clock, &announce, receiver))?;
        Ok(Self { queue: sender })
    }

    /// Has the writer do `write`; returns its result after the commit.
    pub(super) async fn write<T, W>(&self, write: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { write: Some(write), result: Err(Error::Closed), reply };
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

    /// Answers the caller.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Waiting<T, W> {
    /// Taken when it runs.
    write: Option<W>,
    result: Result<T>,
    reply: oneshot::Sender<Result<T>>,
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

    fn answer(self: Box<Self>, committed: Result<()>) {
        // A caller who went away gets no answer.
        let _ = self.reply.send(committed.and(self.result));
    }
}

#[cfg(test)]
mod tests;
