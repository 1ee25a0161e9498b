//! Jobs whose pictures and adapters are being read: beside the slots, so that a host that drips holds nobody's place.
//!
//! So many jobs may be here at once. Who has many of them here is given no further ones for a while, in favour of callers
//! with other keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scumble_api::{Endpoint, Input, InputPicture, Scope};
use scumble_fetch::Source;
use scumble_store::Lease;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::adapters::Adapters;
use crate::models::Models;
use crate::runner::Needs;

/// Jobs whose pictures are read at once.
const JOBS: usize = 64;

/// How many of them are one key's before others go first.
const SHARE: u32 = 16;

/// Where jobs are whose pictures are read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetching {
    room: Arc<Semaphore>,
    /// How many of whose are here.
    by_key: Arc<Mutex<HashMap<String, u32>>>,
}

/// A job's place here.
pub(crate) struct Place {
    fetching: Fetching,
    key: Option<String>,
    _room: OwnedSemaphorePermit,
}

impl Default for Fetching {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(JOBS)), by_key: Arc::default() }
    }
}

impl Fetching {
    /// Until there is room for another job.
    pub(crate) async fn room(&self) {
        drop(self.room.acquire().await);
    }

    /// A place for this job, if its pictures have to be fetched and there is room.
    pub(crate) fn place(&self, models: &Models, adapters: &Adapters, lease: &Lease) -> Option<Place> {
        if has_far_files(models, adapters, lease) { self.admit(lease.job.key_id.clone()) } else { None }
    }

    fn admit(&self, key: Option<String>) -> Option<Place> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        if let Some(key) = &key {
            *self.keys().entry(key.clone()).or_default() += 1;
        }
        Some(Place { fetching: self.clone(), key, _room: room })
    }

    /// How many jobs of one key may be at work, while somebody has all of their share here.
    pub(crate) fn per_key(&self, usual: Option<u32>) -> Option<u32> {
        let crowded = self.keys().values().any(|jobs| *jobs >= SHARE);
        if crowded { Some(usual.map_or(SHARE, |usual| usual.min(SHARE))) } else { usual }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut keys = self.fetching.keys();
        if let Some(jobs) = keys.get_mut(&key) {
            *jobs -= 1;
            if *jobs == 0 {
                keys.remove(&key);
            }
        }
    }
}

/// Whether a job names pictures or adapters that have to be fetched from elsewhere before it can run.
fn has_far_files(models: &Models, adapters: &Adapters, lease: &Lease) -> bool {
    let takes = |endpoint: &&Endpoint| endpoint.takes_pictures() || endpoint.takes_weights();
    let Some(endpoint) = scumble_api::find(&lease.job.endpoint).filter(takes) else {
        return false;
    };
    let runner = models.runner(endpoint);
    let is_far = |input: &Input| {
        let far = |picture: InputPicture| matches!(Source::parse(&picture.url), Ok(Source::Url(_)));
        let pictures = runner.needs() == Needs::Every && input.pictures().into_iter().any(far);
        pictures || (runner.loads_adapters() && input.weights().iter().any(|weights| adapters.is_far(&weights.source)))
    };
    endpoint.parse(&lease.job.input, Scope::Wire).is_ok_and(|input| is_far(&input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_many_jobs_here_gets_no_more_for_a_while() {
        let fetching = Fetching::default();
        let place = |key: Option<&str>| fetching.admit(key.map(str::to_owned));
        let nobodys: Vec<_> = (0..SHARE).map(|_| place(None).expect("room")).collect();
        assert_eq!(fetching.per_key(None), None, "who has no key has no share");
        let mut places: Vec<_> = (0..SHARE).map(|_| place(Some("a")).expect("room")).collect();
        assert_eq!((fetching.per_key(None), fetching.per_key(Some(3))), (Some(SHARE), Some(3)));
        places.pop();
        assert_eq!((fetching.per_key(None), fetching.per_key(Some(90))), (None, Some(90)));
        let more = JOBS - nobodys.len() - places.len();
        let rest: Vec<_> = (0..more).map(|_| place(None).expect("room")).collect();
        assert!(place(Some("b")).is_none(), "the room is full");
        drop((nobodys, places, rest));
        assert_eq!((fetching.room.available_permits(), fetching.keys().len()), (JOBS, 0));
    }
}
