//! What is tried again, how often, and how long one waits in between.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::watch::Watch;

/// How patient one is with hosts.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries in a row that bring nothing.
    pub tries: u32,
    /// The pause after the first of them; each further one is twice as long.
    pub first: Duration,
    /// The longest pause, also where a host names a longer one.
    pub longest: Duration,
    /// Longest silence of a host, and the time in which [`LEAST`] bytes have to come.
    pub silence: Duration,
}

/// A host that sends less in the time of [`Patience::silence`] holds a place that another connection could use.
pub(crate) const LEAST: u64 = 64 * 1024;

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 8,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            silence: Duration::from_secs(30),
        }
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may work later; a host may say when.
    Passing { said: String, after: Option<Duration>, too_many: Option<String> },
    /// It will not.
    Final(Error),
}

impl Trouble {
    pub(crate) fn passing(said: impl Into<String>) -> Self {
        Self::Passing { said: said.into(), after: None, too_many: None }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<scumble_fetch::Error> for Trouble {
    fn from(error: scumble_fetch::Error) -> Self {
        match error.may_pass() {
            true => Self::passing(error.to_string()),
            false => Self::Final(Error::Fetch(error)),
        }
    }
}

/// Tries of one thing.
pub(crate) struct Tries<'a> {
    patience: Patience,
    what: &'a str,
    failed: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(patience: Patience, what: &'a str) -> Self {
        Self { patience, what, failed: 0 }
    }

    /// Something has come: what failed before does not count any more.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// There is no next try.
    pub(crate) async fn again(&mut self, trouble: Trouble, watch: &dyn Watch) -> Result<()> {
        let (said, after, too_many) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing { said, after, too_many } => (said, after, too_many),
        };
        self.failed += 1;
        if self.failed >= self.patience.tries {
            return Err(match too_many {
                Some(host) => Error::TooMany { host },
                None => Error::Broken { what: self.what.to_owned(), tries: self.failed, last: said },
            });
        }
        let own = self.patience.first.saturating_mul(1 << (self.failed - 1).min(16));
        let pause = after.unwrap_or(own).max(self.patience.first).min(self.patience.longest);
        // a cut that the next try mends is nobody's concern
        if self.failed > 1 || pause >= Duration::from_secs(5) {
            watch.say(&format!("{}: {said}; once more in {} s", self.what, pause.as_secs_f64().ceil()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
