//! Connections that read beside the writer.
//!
//! A read of many rows may wait for the disk, so it runs on a thread that may ([`Readers::read`]). To look up a row or
//! two takes some ten microseconds, a fraction of what it takes to hand it to another thread and back, so that is done
//! on the spot ([`Readers::glance`]). SQLite's readers never wait for its writer.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::{Error, Result};

/// A few connections, each lent to one read at a time.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// One permit per connection; closed when the store is.
    permits: Arc<Semaphore>,
    all: u32,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        let all = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        Self { idle: Arc::new(Mutex::new(connections)), permits, all }
    }

    /// Has a connection do `read`.
    pub(super) async fn read<T, R>(&self, read: R) -> Result<T>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let idle = self.idle.clone();
        // The permit goes along: when the caller goes away meanwhile, the connection is still on loan.
        let reading = tokio::task::spawn_blocking(move || {
            let result = lend(&idle, read);
            drop(permit);
            result
        });
        reading.await.map_err(|_| Error::Closed)?
    }

    /// Has a connection look something up by its key, here and now. With all connections on loan it waits as a read does.
    pub(super) async fn glance<T, R>(&self, read: R) -> Result<T>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let Ok(permit) = self.permits.try_acquire() else { return self.read(read).await };
        let result = lend(&self.idle, read);
        drop(permit);
        result
    }

    /// Waits for the reads under way and closes the connections.
    pub(super) async fn close(&self) {
        // An error means that somebody else has closed them.
        if let Ok(all) = self.permits.acquire_many(self.all).await {
            self.permits.close();
            lock(&self.idle).clear();
            drop(all);
        }
    }
}

/// Whoever lends a connection holds a permit for it.
fn lend<T>(idle: &Mutex<Vec<Connection>>, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let conn = lock(idle).pop().ok_or(Error::Closed)?;
    let result = read(&conn);
    lock(idle).push(conn);
    result
}

/// A read that panicked has at worst kept its connection; the others are as good as before.
fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
