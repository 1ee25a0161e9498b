//! What PostgreSQL's errors mean, and which of them are worth another try.

use std::fmt;
use std::time::{Duration, Instant};

use sqlx::postgres::PgDatabaseError;

use crate::{Cause, Error};

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        sorted(error)
    }
}

/// Our own conditions, raised in the migrations' functions.
const FILE_EXISTS: &str = "SC001";

/// What an error means to whoever has to act on it.
fn sorted(error: sqlx::Error) -> Error {
    if matches!(error, sqlx::Error::PoolClosed) {
        return Error::Closed;
    }
    if is_lost(&error) {
        return Error::NoAnswer(cause(error));
    }
    let Some(said) = said(&error) else { return Error::Database(cause(error)) };
    match said.code() {
        FILE_EXISTS => Error::FileExists(said.detail().unwrap_or_default().to_owned()),
        // serialization failure, deadlock, lock timeout, statement timeout or cancel by the operator
        "40001" | "40P01" | "55P03" | "57014" => Error::Busy(cause(error)),
        "25006" => Error::ReadOnly(cause(error)),
        "53100" => Error::Full(cause(error)),
        "XX001" | "XX002" => Error::Corrupt(cause(error)),
        // no such role, wrong password, no such database, no right to connect
        "28000" | "28P01" | "3D000" | "42501" => Error::Refused(cause(error)),
        _ => Error::Database(cause(error)),
    }
}

/// An error as it is told: without the line of PostgreSQL's own source that raised it, which reads like one of a file here.
struct Told(sqlx::Error);

fn cause(error: sqlx::Error) -> Cause {
    Cause::new(Told(error))
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match said(&self.0) {
            Some(said) => f.write_str(said.message()),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Told {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Whether the connection is gone or there is none to be had, so that nobody knows what became of the statement.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        error => said(error).is_some_and(|said| match said.code() {
            // terminated, crashed, starting up or shutting down; all connections taken
            "57P01" | "57P02" | "57P03" | "57P05" | "53300" => true,
            code => code.starts_with("08"),
        }),
    }
}

/// Whether two writes stood in each other's way, and nothing of this one was written.
fn is_clash(error: &sqlx::Error) -> bool {
    said(error).is_some_and(|said| matches!(said.code(), "40001" | "40P01"))
}

fn said(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref())
}

/// Another try after an error that may pass. The first tries follow soon, for a connection that was cut; all together
/// last long enough for a server that restarts.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    /// Whether an earlier try may have been written, though nobody heard of it.
    pub(super) again: bool,
    /// Until then no number of tries is too many.
    until: Option<Instant>,
}

impl Tries {
    const MAX: u32 = 8;
    const FIRST_WAIT: Duration = Duration::from_millis(10);
    const LONGEST_WAIT: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// For what must not be lost to a server that is away for a minute.
    pub(super) fn patient() -> Self {
        Self { until: Some(Instant::now() + Self::PATIENCE), ..Self::default() }
    }

    /// Waits before the next try; gives the error back when there is none.
    pub(super) async fn after(&mut self, error: sqlx::Error) -> Result<(), Error> {
        let lost = is_lost(&error);
        self.failed += 1;
        let hopeless = match self.until {
            Some(until) => Instant::now() >= until,
            // Waiting for a connection has taken its time already.
            None => matches!(error, sqlx::Error::PoolTimedOut) || self.failed >= Self::MAX,
        };
        if hopeless || !(lost || is_clash(&error)) {
            return Err(sorted(error));
        }
        tracing::debug!(%error, failed = self.failed, "the database is asked again");
        self.again |= lost;
        let wait = Self::FIRST_WAIT.saturating_mul(1 << (self.failed - 1).min(10));
        tokio::time::sleep(wait.min(Self::LONGEST_WAIT)).await;
        Ok(())
    }
}

/// Does it again while it fails in ways that may pass. `$again` says that an earlier try may have been written.
macro_rules! retried {
    ($attempt:expr) => {
        $crate::postgres::errors::retried!(_again => $attempt)
    };
    ($again:pat => $attempt:expr) => {
        $crate::postgres::errors::retried!($crate::postgres::errors::Tries::default(), $again => $attempt)
    };
    ($tries:expr, $again:pat => $attempt:expr) => {{
        let mut tries = $tries;
        loop {
            let $again = tries.again;
            match $attempt.await {
                Ok(answer) => break $crate::Result::<_>::Ok(answer),
                Err(error) => tries.after(error).await?,
            }
        }
    }};
}

pub(super) use retried;
