//! Statements on a connection. Each is prepared once and kept.

use rusqlite::{Connection, Params, Row};

use crate::Result;

/// What reads and writes ask of a connection.
pub(super) trait Db {
    /// Carries out a statement; returns how many rows it changed.
    fn run(&self, sql: &str, params: impl Params) -> Result<usize>;

    /// The first row, if there is one.
    fn first<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<Option<T>>;

    /// All rows.
    fn all<T>(&self, sql: &str, params: impl Params, read: impl FnMut(&Row<'_>) -> Result<T>) -> Result<Vec<T>>;
}

impl Db for Connection {
    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        Ok(self.prepare_cached(sql)?.execute(params)?)
    }

    fn first<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<Option<T>> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    fn all<T>(&self, sql: &str, params: impl Params, mut read: impl FnMut(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }
}
