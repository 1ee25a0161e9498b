//! Workers that wait for work, and jobs that go to them from hand to hand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{Claim, Claimable, Lease};

/// What a claim comes to.
#[derive(Debug)]
pub enum Claimed {
    /// This job.
    Job(Box<Lease>),
    /// There is none to take; here the worker may wait for one.
    Nothing(Seat),
}

/// Where a worker waits that found nothing to take. A job may be handed to whoever sits, past the queue, for as long as the
/// queue has nothing new: then everybody is called to look.
#[derive(Debug)]
pub struct Seat(Option<Box<Taken>>);

#[derive(Debug)]
struct Taken {
    number: u64,
    seats: Arc<Seats>,
    hand: oneshot::Receiver<Lease>,
    /// What was put into the hand while somebody looked.
    handed: Option<Lease>,
}

/// All seats of a store. Who gets up, and who is handed something, is decided under one lock, so that nothing is handed to
/// an empty seat.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Room>);

#[derive(Debug, Default)]
struct Room {
    /// The number of the next seat.
    next: u64,
    /// Who waits longest is first.
    sitting: VecDeque<Sitting>,
    /// How often everybody was called.
    calls: u64,
    /// Who looked in vain for what, and when that was.
    looked: HashMap<String, Looked>,
}

#[derive(Debug)]
struct Looked {
    claim: Claim,
    calls: u64,
    at: Instant,
}

/// For so long it is enough to have looked in vain, if nothing was announced since: jobs that have rested, and those of
/// other processes, are announced by nobody.
const LOOKED: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Sitting {
    number: u64,
    claim: Claim,
    hand: oneshot::Sender<Lease>,
}

impl Seats {
    /// How often everybody was called so far. To be asked before looking for work.
    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// A seat for whoever makes this claim and has looked in vain since so many `calls`. Who was called meanwhile has to get
    /// up again at once.
    pub(crate) fn sit(self: &Arc<Self>, claim: Claim, calls: u64) -> Seat {
        let mut room = self.lock();
        let looked = Looked { claim: claim.clone(), calls, at: Instant::now() };
        room.looked.insert(claim.worker.clone(), looked);
        self.take_seat(&mut room, claim, calls)
    }

    /// A seat for whoever makes this claim again, if there cannot be anything new for it.
    pub(crate) fn sit_again(self: &Arc<Self>, claim: &Claim) -> Option<Seat> {
        let mut room = self.lock();
        let looked = room.looked.get(&claim.worker)?;
        let is_known = looked.calls == room.calls && looked.at.elapsed() < LOOKED && looked.claim == *claim;
        let calls = looked.calls;
        is_known.then(|| self.take_seat(&mut room, claim.clone(), calls))
    }

    fn take_seat(self: &Arc<Self>, room: &mut Room, claim: Claim, calls: u64) -> Seat {
        let ((sender, hand), number) = (oneshot::channel(), room.next);
        room.next += 1;
        if room.calls == calls {
            room.sitting.push_back(Sitting { number, claim, hand: sender });
        }
        Seat(Some(Box::new(Taken { number, seats: self.clone(), hand, handed: None })))
    }

    /// Whether somebody sits who can take a job of this endpoint.
    pub(crate) fn anybody(&self, endpoint: &str) -> bool {
        self.lock().sitting.iter().any(|sitting| sitting.can_take(endpoint))
    }

    /// Hands a job of this endpoint to the first who can take it, as the lease that is made of their claim. False when
    /// nobody can.
    pub(crate) fn hand(&self, endpoint: &str, lease: impl FnOnce(&Claim) -> Lease) -> bool {
        let mut room = self.lock();
        let first = room.sitting.iter().position(|sitting| sitting.can_take(endpoint));
        let Some(Sitting { claim, hand, number: _ }) = first.and_then(|place| room.sitting.remove(place)) else {
            return false;
        };
        // somebody is there: who gets up does so under the lock
        hand.send(lease(&claim)).is_ok()
    }

    /// Calls everybody to look for work.
    pub(crate) fn call(&self) {
        let mut room = self.lock();
        room.calls += 1;
        room.sitting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sitting {
    fn can_take(&self, endpoint: &str) -> bool {
        match &self.claim.endpoints {
            Claimable::All => true,
            Claimable::Only(list) => list.iter().any(|known| known == endpoint),
        }
    }
}

impl Seat {
    /// Nobody is handed anything here, and nobody is called.
    #[must_use]
    pub fn outside() -> Self {
        Self(None)
    }

    /// Until a job was handed over or everybody is called to look: get up then. May be dropped and asked again.
    pub async fn called(&mut self) {
        let Some(taken) = &mut self.0 else { return std::future::pending().await };
        if taken.handed.is_none() && !taken.hand.is_terminated() {
            taken.handed = (&mut taken.hand).await.ok();
        }
    }

    /// Gets up, with the job that was handed over. From then on nothing is.
    pub fn leave(mut self) -> Option<Lease> {
        self.get_up()
    }

    fn get_up(&mut self) -> Option<Lease> {
        let Taken { number, seats, mut hand, handed } = *self.0.take()?;
        seats.lock().sitting.retain(|sitting| sitting.number != number);
        handed.or_else(|| hand.try_recv().ok())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(Lease { job, .. }) = self.get_up() {
            // its lease has to expire first
            tracing::error!(job.id = %job.id, "nobody took the job that was handed over");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::{Job, NewJob, State};

    fn claim(worker: &str, endpoints: Claimable) -> Claim {
        Claim { worker: worker.to_owned(), endpoints, lease_ms: 1_000, per_key: None, start: true }
    }

    /// Whether somebody takes a job of this endpoint.
    fn is_taken(seats: &Seats, endpoint: &str) -> bool {
        let job = Job::accepted(NewJob::new(endpoint, json!({})), 0, 0, State::Running);
        let anybody = seats.anybody(endpoint);
        let taken =
            seats.hand(endpoint, |claim| Lease { job, worker: claim.worker.clone(), attempt: 1, expires_ms: 1 });
        assert_eq!(taken, anybody);
        taken
    }

    fn sit(seats: &Arc<Seats>, claim: Claim) -> Seat {
        seats.sit(claim, seats.calls())
    }

    #[test]
    fn a_job_goes_to_the_first_who_can_take_it() {
        let seats = Arc::new(Seats::default());
        let picky = sit(&seats, claim("picky", Claimable::Only(vec!["b".to_owned()])));
        let (first, second) =
            (sit(&seats, claim("first", Claimable::All)), sit(&seats, claim("second", Claimable::All)));
        assert!(is_taken(&seats, "a"));
        assert_eq!((picky.leave(), second.leave()), (None, None));
        assert_eq!(first.leave().map(|lease| lease.worker).as_deref(), Some("first"));
        assert!(!is_taken(&seats, "a"), "everybody has left");
    }

    #[test]
    fn who_is_called_looks_and_is_handed_nothing() {
        let seats = Arc::new(Seats::default());
        let mut seat = sit(&seats, claim("w", Claimable::All));
        assert!(seat.called().now_or_never().is_none());
        seats.call();
        assert!(!is_taken(&seats, "a"));
        assert!(seat.called().now_or_never().is_some());
        // asked again it says the same
        assert!(seat.called().now_or_never().is_some());
        assert_eq!(seat.leave(), None);
    }

    #[test]
    fn who_was_called_while_looking_looks_again() {
        let seats = Arc::new(Seats::default());
        let calls = seats.calls();
        seats.call();
        let mut seat = seats.sit(claim("w", Claimable::All), calls);
        assert!(!is_taken(&seats, "a"));
        assert!(seat.called().now_or_never().is_some());
        assert!(seats.sit_again(&claim("w", Claimable::All)).is_none());
    }

    #[test]
    fn who_has_looked_may_sit_again_until_called() {
        let seats = Arc::new(Seats::default());
        let (mine, other) = (claim("w", Claimable::All), claim("w", Claimable::Only(vec!["b".to_owned()])));
        assert!(seats.sit_again(&mine).is_none());
        drop(sit(&seats, mine.clone()));
        assert!(seats.sit_again(&other).is_none(), "for something else");
        let seat = seats.sit_again(&mine).expect("nothing is new");
        assert!(is_taken(&seats, "a"));
        assert!(seat.leave().is_some());
        seats.call();
        assert!(seats.sit_again(&mine).is_none());
    }

    #[test]
    fn what_was_handed_over_is_taken_along_heard_or_not() {
        let seats = Arc::new(Seats::default());
        let (mut heard, unheard) = (sit(&seats, claim("a", Claimable::All)), sit(&seats, claim("b", Claimable::All)));
        assert!(is_taken(&seats, "x") && is_taken(&seats, "x"));
        assert!(heard.called().now_or_never().is_some());
        assert!(heard.leave().is_some() && unheard.leave().is_some());
    }

    #[test]
    fn who_goes_without_a_word_has_left() {
        let seats = Arc::new(Seats::default());
        drop(sit(&seats, claim("w", Claimable::All)));
        assert!(!is_taken(&seats, "a"));
        let mut outside = Seat::outside();
        assert!(outside.called().now_or_never().is_none());
        assert_eq!(outside.leave(), None);
    }
}
