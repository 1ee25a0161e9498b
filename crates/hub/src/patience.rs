//! What is tried again, how often, and how long one waits in between.

use std::io::ErrorKind;
use std::time::Duration;

use scumble_fetch::Url;

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
    /// So long in all a host is waited for that refuses connections: nobody is there, and seldom comes soon.
    pub refused: Duration,
    /// Longest silence of a host, and the time in which 64 KiB have to come.
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
            refused: Duration::from_secs(20),
            silence: Duration::from_secs(30),
        }
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may work later; a host may say when.
    Passing { said: String, after: Option<Duration>, kind: Kind },
    /// It will not.
    Final(Error),
}

/// What is particular about a trouble that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This host was asked too much.
    TooMany {
        host: String,
    },
    /// Nobody listens at an address.
    Refused,
    Other,
}

impl Trouble {
    pub(crate) fn passing(said: impl Into<String>) -> Self {
        Self::Passing { said: said.into(), after: None, kind: Kind::Other }
    }

    /// No connection to the host of this URL, for a reason in the system's words.
    pub(crate) fn unreachable(url: &Url, reason: &str) -> Self {
        // with its port, which is what is wrong most often
        let address = url.origin().ascii_serialization();
        let said = format!("{address} does not accept connections ({reason}); check this address, or try again later");
        let is_refused = reason == ErrorKind::ConnectionRefused.to_string();
        Self::Passing { said, after: None, kind: if is_refused { Kind::Refused } else { Kind::Other } }
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
    /// How long was waited for a host that refuses connections.
    refused: Duration,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(patience: Patience, what: &'a str) -> Self {
        Self { patience, what, failed: 0, refused: Duration::ZERO }
    }

    /// Something has come: what failed before does not count any more.
    pub(crate) fn progressed(&mut self) {
        (self.failed, self.refused) = (0, Duration::ZERO);
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// There is no next try.
    pub(crate) async fn again(&mut self, trouble: Trouble, watch: &dyn Watch) -> Result<()> {
        let (said, pause) = self.pause(trouble)?;
        // a cut that the next try mends is nobody's concern
        if self.failed > 1 || pause >= Duration::from_secs(5) {
            watch.say(&format!("{}: {said}; once more in {} s", self.what, pause.as_secs_f64().ceil()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// What is said, and how long one waits then.
    fn pause(&mut self, trouble: Trouble) -> Result<(String, Duration)> {
        let (said, after, kind) = match trouble {
            Trouble::Final(error) => return Err(error.about(self.what)),
            Trouble::Passing { said, after, kind } => (said, after, kind),
        };
        self.failed += 1;
        let left = self.patience.refused.saturating_sub(self.refused);
        let is_refused = kind == Kind::Refused;
        if self.failed >= self.patience.tries || (is_refused && left.is_zero()) {
            return Err(match kind {
                Kind::TooMany { host } => Error::TooMany { host },
                _ => Error::Broken { what: self.what.to_owned(), tries: self.failed, last: said },
            });
        }
        let own = self.patience.first.saturating_mul(1 << (self.failed - 1).min(16));
        let pause = after.unwrap_or(own).max(self.patience.first).min(self.patience.longest);
        if !is_refused {
            self.refused = Duration::ZERO;
            return Ok((said, pause));
        }
        let pause = pause.min(left);
        self.refused += pause;
        Ok((said, pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often, and how long in all, until it is given up; and the words for that.
    fn given_up(trouble: impl Fn() -> Trouble) -> (u32, u64, String) {
        let mut tries = Tries::new(Patience::default(), "the list");
        let (mut count, mut waited) = (1, Duration::ZERO);
        loop {
            match tries.pause(trouble()) {
                Ok((_, pause)) => (count, waited) = (count + 1, waited + pause),
                Err(error) => return (count, waited.as_secs(), error.to_string()),
            }
        }
    }

    #[test]
    fn who_refuses_connections_is_given_up_soon_and_by_address() {
        let url = Url::parse("http://127.0.0.1:31950/api/x").expect("a URL");
        let refused = || Trouble::unreachable(&url, &ErrorKind::ConnectionRefused.to_string());
        let (tries, seconds, said) = given_up(refused);
        assert_eq!((tries, seconds), (6, 20), "{said}");
        assert!(said.contains("http://127.0.0.1:31950 does not accept connections (connection refused)"), "{said}");
        // what may pass is waited for longer
        assert_eq!(given_up(|| Trouble::unreachable(&url, "timed out")).1, 123);
        assert_eq!(given_up(|| Trouble::passing("cut")).0, 8);
    }

    #[test]
    fn refused_once_more_after_something_came_counts_anew() {
        let url = Url::parse("http://127.0.0.1:31950").expect("a URL");
        let refused = || Trouble::unreachable(&url, &ErrorKind::ConnectionRefused.to_string());
        let mut tries = Tries::new(Patience::default(), "a file");
        for _ in 0..5 {
            tries.pause(refused()).expect("another try");
        }
        tries.progressed();
        assert_eq!(tries.pause(refused()).map(|(_, pause)| pause).ok(), Some(Duration::from_secs(1)));
    }
}
