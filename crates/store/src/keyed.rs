//! Whether callers need a key: asked with every call, changed once in the life of a database.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;

/// How long a no is believed: shorter than the command that makes the first key takes to end.
const BELIEVED: Duration = Duration::from_millis(10);

/// Remembers what the database said. A yes is for ever.
#[derive(Debug, Default)]
pub(crate) struct Keyed(Mutex<Known>);

#[derive(Debug, Clone, Copy, Default)]
enum Known {
    #[default]
    Nothing,
    NotSince(Instant),
    Yes,
}

impl Keyed {
    /// A key was made here.
    pub(crate) fn now(&self) {
        self.set(Known::Yes);
    }

    /// The answer that is known, or the database's.
    pub(crate) async fn or_ask<A>(&self, ask: impl FnOnce() -> A) -> Result<bool>
    where
        A: Future<Output = Result<bool>>,
    {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Known::Yes => return Ok(true),
            Known::NotSince(asked) if asked.elapsed() < BELIEVED => return Ok(false),
            Known::NotSince(_) | Known::Nothing => {}
        }
        // older than the answer, so that nothing is believed for too long
        let asked = Instant::now();
        let needed = ask().await?;
        self.set(if needed { Known::Yes } else { Known::NotSince(asked) });
        Ok(needed)
    }

    /// What is known now; a yes is never taken back by an answer that is older than it.
    fn set(&self, known: Known) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*current, Known::Yes) {
            *current = known;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_yes_stays_and_a_no_is_believed_for_a_moment() -> Result<()> {
        let keyed = Keyed::default();
        assert!(!keyed.or_ask(|| async { Ok(false) }).await?);
        keyed.set(Known::NotSince(Instant::now()));
        assert!(!keyed.or_ask(|| async { panic!("the answer is fresh") }).await?);
        let long_ago = Instant::now().checked_sub(BELIEVED).expect("the machine is up for longer");
        keyed.set(Known::NotSince(long_ago));
        assert!(keyed.or_ask(|| async { Ok(true) }).await?);
        keyed.set(Known::NotSince(Instant::now()));
        assert!(keyed.or_ask(|| async { panic!("once is for ever") }).await?);
        Ok(())
    }

    #[tokio::test]
    async fn a_key_that_is_made_while_the_database_is_asked_counts() -> Result<()> {
        let keyed = Keyed::default();
        let asked = keyed.or_ask(|| async {
            keyed.now();
            Ok(false)
        });
        assert!(!asked.await?, "it was asked before");
        assert!(keyed.or_ask(|| async { panic!("once is for ever") }).await?);
        Ok(())
    }
}
