//! Whether a database is intact.

use super::SqliteStore;
use super::db::Db;
use crate::Result;

impl SqliteStore {
    /// What SQLite finds wrong in the file; nothing when it is intact. Reads all of it: for self-tests and after
    /// accidents, not for probes.
    ///
    /// # Errors
    ///
    /// As for all methods of [`Store`](crate::Store).
    pub async fn problems(&self) -> Result<Vec<String>> {
        let found =
            self.readers.read(|db| db.all("PRAGMA integrity_check", [], |row| Ok(row.get::<_, String>(0)?))).await?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }
}
