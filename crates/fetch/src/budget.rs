//! Bytes that a process holds for others: bodies of requests, messages that wait, files on their way, pixels.
//!
//! Each of these has a limit of its own, and a thousand of them together have none. So all draw on one budget. Whoever
//! holds a share and needs more waits for a short time only, then gives up: nobody waits for ever on somebody who waits on
//! them. What alone is larger than the whole budget takes all of it, so that one at a time is still possible.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes are counted in pieces of this size.
const PIECE: u64 = 1024;

/// How many bytes a process may hold for others. All clones are one budget.
#[derive(Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    pieces: u32,
}

/// Bytes that somebody holds; given back when it is dropped.
pub struct Share {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

/// Everything is held by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of the server is taken by other requests")]
pub struct Exhausted;

impl Budget {
    /// What is used where nobody says otherwise.
    pub const DEFAULT: u64 = 256 * 1024 * 1024;

    /// So many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        // the most that one share may ask for at once
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(pieces as usize)), pieces }
    }

    /// All of it, held or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.pieces) * PIECE
    }

    /// What nobody holds.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.free.available_permits() as u64 * PIECE
    }

    /// A share that holds nothing yet.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), held: None }
    }

    /// A share of so many bytes.
    ///
    /// # Errors
    /// There are none left, and none came back in this time.
    pub async fn take(&self, bytes: u64, patience: Duration) -> Result<Share, Exhausted> {
        let mut share = self.share();
        share.wait_for(bytes, patience).await?;
        Ok(share)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

impl Share {
    /// What it draws on.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces() as u64 * PIECE
    }

    /// Holds so many bytes in all, if they are there now.
    ///
    /// # Errors
    /// They are not.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Exhausted> {
        let Some(more) = self.more(bytes) else { return Ok(()) };
        self.add(self.budget.free.clone().try_acquire_many_owned(more).map_err(|_| Exhausted)?);
        Ok(())
    }

    /// Holds so many bytes in all, as soon as they are there.
    ///
    /// # Errors
    /// They did not come back in this time.
    pub async fn wait_for(&mut self, bytes: u64, patience: Duration) -> Result<(), Exhausted> {
        if self.grow(bytes).is_ok() {
            return Ok(());
        }
        let Some(more) = self.more(bytes) else { return Ok(()) };
        match timeout(patience, self.budget.free.clone().acquire_many_owned(more)).await {
            Ok(Ok(permit)) => {
                self.add(permit);
                Ok(())
            }
            _ => Err(Exhausted),
        }
    }

    /// Gives back what is more than so many bytes.
    pub fn shrink(&mut self, bytes: u64) {
        let keep = usize::try_from(bytes.div_ceil(PIECE)).unwrap_or(usize::MAX);
        let excess = self.pieces().saturating_sub(keep);
        if let Some(held) = &mut self.held {
            drop(held.split(excess));
        }
    }

    /// These bytes, which hold the share for as long as anybody has them.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Held { bytes, _share: self }) }
    }

    fn pieces(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// How many pieces are missing for so many bytes, if any; nobody needs more than all.
    fn more(&self, bytes: u64) -> Option<u32> {
        let wanted = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX).min(self.budget.pieces);
        wanted.checked_sub(u32::try_from(self.pieces()).unwrap_or(u32::MAX)).filter(|more| *more > 0)
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {} bytes free)", self.free(), self.bytes())
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} bytes)", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_is_held_comes_back_however_it_ends() {
        let budget = Budget::new(10 * KIB);
        let mut share = budget.take(4 * KIB, SOON).await.expect("room");
        assert_eq!(share.grow(10 * KIB), Ok(()));
        assert_eq!(budget.take(1, SOON).await.err(), Some(Exhausted));
        share.shrink(3 * KIB);
        assert_eq!((share.bytes(), budget.free()), (3 * KIB, 7 * KIB));
        let bytes = share.hold(Bytes::from_static(b"abc"));
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&part[..], budget.free()), (&b"bc"[..], 7 * KIB), "a part of them is enough");
        drop(part);
        assert_eq!(budget.free(), 10 * KIB);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_of_it_goes_alone() {
        let budget = Budget::new(10 * KIB);
        let large = budget.take(1000 * KIB, SOON).await.expect("all of it");
        assert_eq!((large.bytes(), budget.free()), (10 * KIB, 0));
        assert_eq!(budget.share().grow(1), Err(Exhausted));
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(1000 * KIB, Duration::from_secs(30)).await.map(|share| share.bytes()) }
        });
        drop(large);
        assert_eq!(waiting.await.expect("no panic"), Ok(10 * KIB));
    }

    #[tokio::test]
    async fn two_who_hold_half_and_want_all_do_not_wait_for_ever() {
        let budget = Budget::new(10 * KIB);
        let half = || async {
            let mut share = budget.take(5 * KIB, SOON).await?;
            tokio::task::yield_now().await;
            share.wait_for(10 * KIB, SOON).await
        };
        let (one, other) = tokio::join!(half(), half());
        assert!(one.is_err() || other.is_err(), "they cannot both have all of it");
        assert_eq!(budget.free(), 10 * KIB);
    }
}
