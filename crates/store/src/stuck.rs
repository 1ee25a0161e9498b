//! Whether jobs can be taken up at all.
//!
//! A worker that cannot claim has no database to say so in. What it asked in vain is remembered here, for those in the same
//! process who wait for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// A failure that is over in less than this concerns nobody.
const LASTS: Duration = Duration::from_secs(1);

/// Who has not failed for so long does not try any more.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// How claims went lately.
#[derive(Debug, Default)]
pub(crate) struct Stuck(Mutex<Option<Failing>>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    latest: Instant,
    error: Error,
}

impl Stuck {
    /// Remembers how a claim went. One that found nothing tells nothing: it did not have to write.
    pub(crate) fn note<T>(&self, claimed: &Result<T>, found: impl FnOnce(&T) -> bool) {
        let now = Instant::now();
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match claimed {
            Ok(claimed) if found(claimed) => *failing = None,
            Ok(_) => {}
            Err(error) if error.lasts() => {
                let since = failing.as_ref().filter(|known| now - known.latest < FORGOTTEN).map(|known| known.since);
                *failing = Some(Failing { since: since.unwrap_or(now), latest: now, error: error.clone() });
            }
            Err(_) => {}
        }
    }

    /// Why nobody takes up a job, where that has lasted for a while.
    pub(crate) fn why(&self) -> Option<Error> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = failing.as_ref().filter(|known| known.latest.elapsed() < FORGOTTEN)?;
        (failing.latest - failing.since >= LASTS).then(|| failing.error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<Option<()>> {
        Err(Error::Unreadable { what: "queue", reason: "a test".to_owned() })
    }

    #[test]
    fn only_what_lasts_is_told() {
        let stuck = Stuck::default();
        stuck.note(&failed(), Option::is_some);
        assert!(stuck.why().is_none(), "it may be over at once");
        let earlier = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine is up");
        let lasting = |since, latest| {
            let Err(error) = failed() else { panic!("it fails") };
            *stuck.0.lock().expect("nobody panics") =
                Some(Failing { since: earlier(since), latest: earlier(latest), error });
        };
        lasting(2, 0);
        assert!(stuck.why().is_some());
        // who found nothing did not write, so it is as it was
        stuck.note(&Ok(None::<()>), Option::is_some);
        assert!(stuck.why().is_some());
        stuck.note::<Option<()>>(&Err(Error::Closed), Option::is_some);
        assert!(stuck.why().is_some(), "an error that passes tells nothing either");
        stuck.note(&Ok(Some(())), Option::is_some);
        assert!(stuck.why().is_none());
        lasting(60, 30);
        assert!(stuck.why().is_none(), "nobody tries any more");
    }
}
