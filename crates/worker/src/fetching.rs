//! Jobs whose pictures and adapters are being read, and whose prompts are made longer: beside the slots, so that a host
//! that drips holds nobody's place.
//!
//! So many jobs are read for at once, and so many of one caller; the others wait here in line, holding nothing but their
//! lease. Callers without keys count as one. Who has too many jobs here gets no further ones for a while, and where there
//! are too many in all, slots take only what needs no files.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scumble_api::{Endpoint, Input, InputPicture, InputWeights, Scope};
use scumble_fetch::Source;
use scumble_store::{Claim, Claimable, Lease};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::models::Models;
use crate::prompts;
use crate::runner::Needs;

/// Jobs that are read for at once.
const JOBS: usize = 64;

/// How many of them are one key's, and how many those of all callers without one.
const SHARE: usize = 16;
const KEYLESS_SHARE: usize = 32;

/// How many of one key may be here, read for or in line; as many of all callers without one, times four.
const HERE: usize = 64;
const KEYLESS_HERE: usize = 4 * HERE;

/// How many may be here in all.
const ALL_HERE: usize = 1024;

/// Where jobs are whose files are read. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Fetching {
    hall: Arc<Mutex<Hall>>,
}

/// Whose a job is: a key's, or nobody's.
type Caller = Option<String>;

#[derive(Default)]
struct Hall {
    /// How many are read for.
    reading: usize,
    by_caller: HashMap<Caller, Count>,
    /// Who came first goes first, unless its caller has enough.
    line: VecDeque<Waiting>,
    tickets: u64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    reading: usize,
    here: usize,
}

struct Waiting {
    ticket: u64,
    caller: Caller,
    called: oneshot::Sender<()>,
}

/// A job's place here, in line at first.
pub(crate) struct Place {
    hall: Arc<Mutex<Hall>>,
    ticket: u64,
    caller: Caller,
    called: oneshot::Receiver<()>,
}

impl Fetching {
    /// A place for this job, if somebody elsewhere has to be asked for it.
    pub(crate) fn place(&self, models: &Models, config: &Config, lease: &Lease) -> Option<Place> {
        needs_others(models, config, lease).then(|| self.enter(lease.job.key_id.clone()))
    }

    fn enter(&self, caller: Caller) -> Place {
        let (call, called) = oneshot::channel();
        let mut hall = lock(&self.hall);
        hall.tickets += 1;
        let ticket = hall.tickets;
        hall.by_caller.entry(caller.clone()).or_default().here += 1;
        hall.line.push_back(Waiting { ticket, caller: caller.clone(), called: call });
        hall.call();
        Place { hall: self.hall.clone(), ticket, caller, called }
    }

    /// What a slot that usually claims so may claim now.
    pub(crate) fn claim(&self, usual: &Claim) -> Claim {
        let hall = lock(&self.hall);
        let mut claim = usual.clone();
        let of_keys = || hall.by_caller.iter().filter(|(caller, _)| caller.is_some());
        if of_keys().any(|(_, count)| count.here >= HERE) {
            let most = u32::try_from(HERE).unwrap_or(u32::MAX);
            claim.per_key = Some(usual.per_key.map_or(most, |usual| usual.min(most)));
        }
        let all = hall.by_caller.values().map(|count| count.here).sum::<usize>();
        if all >= ALL_HERE || hall.by_caller.get(&None).is_some_and(|count| count.here >= KEYLESS_HERE) {
            claim.endpoints = without_files(&usual.endpoints);
        }
        claim
    }
}

impl Hall {
    /// Calls those for whom there is room.
    fn call(&mut self) {
        while self.reading < JOBS {
            let free = JOBS - self.reading;
            let may = |waiting: &Waiting| {
                let reading = self.by_caller.get(&waiting.caller).map_or(0, |count| count.reading);
                let share = if waiting.caller.is_some() { SHARE } else { KEYLESS_SHARE };
                // who has many leaves as much room as that for those who come
                reading < share.min(free)
            };
            let Some(next) = self.line.iter().position(may).and_then(|at| self.line.remove(at)) else { return };
            self.reading += 1;
            self.by_caller.entry(next.caller).or_default().reading += 1;
            // who does not hear it any more leaves in a moment, and calls the next
            let _ = next.called.send(());
        }
    }
}

impl Place {
    /// Until it is this job's turn.
    pub(crate) async fn turn(&mut self) {
        let _ = (&mut self.called).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hall = lock(&self.hall);
        let in_line = hall.line.iter().position(|waiting| waiting.ticket == self.ticket);
        let was_reading = in_line.and_then(|at| hall.line.remove(at)).is_none();
        if let Some(count) = hall.by_caller.get_mut(&self.caller) {
            count.here -= 1;
            count.reading -= usize::from(was_reading);
            if count.here == 0 {
                hall.by_caller.remove(&self.caller);
            }
        }
        hall.reading -= usize::from(was_reading);
        hall.call();
    }
}

fn lock(hall: &Mutex<Hall>) -> MutexGuard<'_, Hall> {
    hall.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether others may have to be asked for jobs of an endpoint.
fn may_need_others(endpoint: &Endpoint) -> bool {
    endpoint.takes_pictures() || endpoint.takes_weights() || prompts::can_be_asked(endpoint)
}

/// Of these endpoints those that never need others.
fn without_files(endpoints: &Claimable) -> Claimable {
    let plain = scumble_api::ENDPOINTS.iter().filter(|endpoint| !may_need_others(endpoint)).map(|endpoint| endpoint.id);
    let usual = |id: &&str| match endpoints {
        Claimable::All => true,
        Claimable::Only(list) => list.iter().any(|one| one == id),
    };
    Claimable::Only(plain.filter(usual).map(str::to_owned).collect())
}

/// Whether a job names pictures or adapters that have to be fetched from elsewhere before it can run, or asks for a longer
/// prompt.
fn needs_others(models: &Models, config: &Config, lease: &Lease) -> bool {
    let Some(endpoint) = scumble_api::find(&lease.job.endpoint).filter(|endpoint| may_need_others(endpoint)) else {
        return false;
    };
    let runner = models.runner(endpoint);
    let asks = |input: &Input| {
        let far = |picture: InputPicture| matches!(Source::parse(&picture.url), Ok(Source::Url(_)));
        let pictures = runner.needs() == Needs::Every && input.pictures().into_iter().any(far);
        let far = |weights: InputWeights| config.adapters.is_far(&weights.source);
        let adapters = runner.loads_adapters() && input.weights().into_iter().any(far);
        pictures || adapters || (runner.draws_prompts() && config.prompts.are_asked(input))
    };
    endpoint.parse(&lease.job.input, Scope::Wire).is_ok_and(|input| asks(&input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Claim {
        let worker = "w/0".to_owned();
        Claim { worker, endpoints: Claimable::All, lease_ms: 1_000, per_key: Some(90), start: true }
    }

    /// Whether it is this job's turn.
    fn is_called(place: &mut Place) -> bool {
        place.called.try_recv().is_ok()
    }

    fn called(places: &mut [Place]) -> usize {
        places.iter_mut().map(is_called).filter(|called| *called).count()
    }

    #[test]
    fn nobody_takes_all_the_room_and_who_leaves_calls_the_next() {
        let fetching = Fetching::default();
        let enter = |caller: Option<&str>, jobs: usize| -> Vec<Place> {
            (0..jobs).map(|_| fetching.enter(caller.map(str::to_owned))).collect()
        };
        let mut nobodys = enter(None, 100);
        assert_eq!(called(&mut nobodys), KEYLESS_SHARE, "callers without keys are one caller");
        let mut first = enter(Some("a"), 30);
        assert_eq!(called(&mut first), SHARE);
        let mut second = enter(Some("b"), 30);
        assert_eq!(called(&mut second), 8, "half of what is left");
        let mut third = enter(Some("c"), 1);
        assert_eq!(called(&mut third), 1, "there is room for those who come");
        // those in line leave, then one that is read for
        first.truncate(SHARE);
        assert_eq!(called(&mut nobodys) + called(&mut second), 0);
        nobodys.drain(..KEYLESS_SHARE - 2);
        let next = (called(&mut nobodys), called(&mut second));
        assert!(next.0 >= 10 && next.1 >= 1, "the next in line: {next:?}");
        assert!(lock(&fetching.hall).reading <= JOBS);
        drop((nobodys, first, second, third));
        let hall = lock(&fetching.hall);
        assert_eq!((hall.reading, hall.by_caller.len(), hall.line.len()), (0, 0, 0));
    }

    #[test]
    fn who_has_many_here_gets_no_more_and_what_needs_no_files_goes_on() {
        let fetching = Fetching::default();
        let enter = |caller: Option<&str>| fetching.enter(caller.map(str::to_owned));
        let mut places: Vec<Place> = (1..HERE).map(|_| enter(Some("a"))).collect();
        assert_eq!(fetching.claim(&usual()), usual());
        places.push(enter(Some("a")));
        assert_eq!(fetching.claim(&usual()).per_key, Some(64));
        assert_eq!(fetching.claim(&Claim { per_key: Some(3), ..usual() }).per_key, Some(3));
        places.clear();
        places.extend((0..KEYLESS_HERE).map(|_| enter(None)));
        let claim = fetching.claim(&usual());
        let Claimable::Only(plain) = claim.endpoints else { panic!("{claim:?}") };
        assert!(plain.iter().any(|id| id == "fal-ai/flux/dev") && !plain.iter().any(|id| id == "fal-ai/flux-lora"));
        places.clear();
        assert_eq!(fetching.claim(&usual()), usual());
    }
}
