//! The one writer. SQLite lets one connection write at a time and each commit waits for the disk, so the writes that
//! arrive while a commit is under way share the next one: under load a commit costs the same for a hundred jobs as
//! for one.
//!
//! Each write of a group has a savepoint of its own: one that fails takes nothing of its neighbours with it. Nobody is
//! answered before the commit; if the commit fails, everybody gets its error.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{Change, Clock, Error, Result};

/// Writes that may wait. More callers than this wait for their place in line.
const WAITING_MAX: usize = 1024;

/// Writes that share one commit.
const GROUP_MAX: usize = 256;

/// The future of a write under way.
pub(super) type Writing<'t, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 't>>;

/// A write: what it does to the database, inside the group's transaction.
type Write<T> = Box<dyn for<'t> FnOnce(&'t mut Tx) -> Writing<'t, T> + Send>;

/// The handle to the writer's task. The task ends when this is dropped, after the writes that wait.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
}

/// What a write sees: the open transaction.
pub(super) struct Tx {
    /// The connection with the transaction.
    pub(super) conn: SqliteConnection,
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
    /// Starts the writer on the current runtime.
    pub(super) fn start(conn: SqliteConnection, clock: Arc<dyn Clock>, announce: broadcast::Sender<Change>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let tx = Tx { conn, now_ms: 0, changes: Vec::new() };
        tokio::spawn(run(tx, clock, announce, receiver));
        Self { queue: sender }
    }

    /// Has the writer do `write`; returns its result after the commit.
    pub(super) async fn write<T, W>(&self, write: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> Writing<'t, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { write: Some(Box::new(write)), result: Err(Error::Closed), reply };
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

async fn run(
    mut tx: Tx,
    clock: Arc<dyn Clock>,
    announce: broadcast::Sender<Change>,
    mut queue: mpsc::Receiver<Message>,
) {
    let mut closing = Vec::new();
    let mut messages = Vec::new();
    while queue.recv_many(&mut messages, GROUP_MAX).await > 0 {
        let mut group = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Write(op) => group.push(op),
                Message::Close(reply) => {
                    queue.close();
                    closing.push(reply);
                }
            }
        }

        let committed = write_group(&mut tx, &mut group, &*clock).await;
        for change in tx.changes.drain(..).filter(|_| committed.is_ok()) {
            // Nobody listening is fine.
            let _ = announce.send(change);
        }
        for op in group {
            op.answer(committed.clone());
        }
    }
    if let Err(error) = tx.conn.close().await {
        tracing::warn!(%error, "the database did not close cleanly; nothing is lost");
    }
    for reply in closing {
        let _ = reply.send(());
    }
}

/// Does all writes of a group in one transaction.
async fn write_group(tx: &mut Tx, group: &mut [Box<dyn Op>], clock: &dyn Clock) -> Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    // IMMEDIATE takes the write lock now, where waiting for it is possible; later it would not be.
    execute(tx, "BEGIN IMMEDIATE").await?;
    let written = write_each(tx, group, clock).await;
    let committed = match written {
        Ok(()) => execute(tx, "COMMIT").await,
        Err(error) => Err(error),
    };
    if committed.is_err() {
        // Fails when SQLite has rolled back by itself, as it does when the disk is full. Either way nothing is left.
        let _ = execute(tx, "ROLLBACK").await;
    }
    committed
}

/// An error is one of the whole group; a write that fails alone keeps its own.
async fn write_each(tx: &mut Tx, group: &mut [Box<dyn Op>], clock: &dyn Clock) -> Result<()> {
    for op in group {
        tx.now_ms = clock.now_ms();
        let announced = tx.changes.len();
        execute(tx, "SAVEPOINT one").await?;
        if let Err(error) = op.run(tx).await {
            tx.changes.truncate(announced);
            // Without its savepoint the transaction is gone, and with it the work of the neighbours.
            execute(tx, "ROLLBACK TO one").await.map_err(|_| error)?;
        }
        execute(tx, "RELEASE one").await?;
    }
    Ok(())
}

async fn execute(tx: &mut Tx, sql: &'static str) -> Result<()> {
    sqlx::query(sql).execute(&mut tx.conn).await?;
    Ok(())
}

/// A write of whatever result type, waiting in line.
trait Op: Send {
    /// Does the write and keeps its result; an error is also returned, for the savepoint's sake.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Writing<'t, ()>;

    /// Answers the caller.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Waiting<T> {
    /// Taken when it runs.
    write: Option<Write<T>>,
    result: Result<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send + 'static> Op for Waiting<T> {
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Writing<'t, ()> {
        Box::pin(async move {
            if let Some(write) = self.write.take() {
                self.result = write(tx).await;
            }
            self.result.as_ref().map(|_| ()).map_err(Error::clone)
        })
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        // A caller who went away gets no answer.
        let _ = self.reply.send(committed.and(self.result));
    }
}

#[cfg(test)]
mod tests;
