//! Failed sign-ins, so that they slow down: those from one network, and all together.
//!
//! Somebody who fails again and again waits longer and longer, up to a minute. Nobody is locked out by a stranger: each
//! network has its own count, a key that exists is counted apart from what is made up, and whoever has not failed lately
//! never waits for others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// How often somebody may fail before they have to wait.
const FREE: u32 = 5;
/// The first wait; each further one is twice as long.
const WAIT_MS: i64 = 1_000;
/// The longest wait.
const WAIT_MS_MAX: i64 = 60_000;
/// After so long without a failure nothing is remembered.
const FORGOTTEN_MS: i64 = 15 * 60_000;
/// How many failures of all together are let through at once…
const ALL: i64 = 60;
/// …and the pause after which there may be one more.
const ALL_PAUSE_MS: i64 = 1_000;
/// How many parties are remembered.
const PARTIES: usize = 4096;

/// Who tries to sign in: from where, and as whom if there is such a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Party {
    network: Option<IpAddr>,
    key_id: Option<String>,
}

impl Party {
    /// Of IPv6 somebody has not an address but a network.
    pub(super) fn of(address: Option<IpAddr>, key_id: Option<String>) -> Self {
        let network = address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
            v4 => v4,
        });
        Self { network, key_id }
    }
}

/// What is remembered of failures; a bounded number of them, by this process only.
#[derive(Debug, Default)]
pub(crate) struct Tries(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    parties: HashMap<Party, Failures>,
    /// When all failures so far will have been let through, one pause after the other.
    all_until_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_ms: i64,
}

impl Failures {
    /// Also where the clock was set back since: nobody waits until it has caught up.
    fn are_forgotten(self, now_ms: i64) -> bool {
        !(self.last_ms..self.last_ms + FORGOTTEN_MS).contains(&now_ms)
    }

    /// How long to wait yet; nothing, or less, where it is time.
    fn wait_ms(self, now_ms: i64) -> i64 {
        let doubled = self.count.checked_sub(FREE + 1).map_or(0, |n| WAIT_MS << n.min(16));
        self.last_ms + doubled.min(WAIT_MS_MAX) - now_ms
    }
}

impl Tries {
    /// Lets somebody try, or says how many milliseconds they have to wait. Until it has [succeeded](Self::succeeded) the
    /// try counts as a failure: many at once are many.
    pub(super) fn begin(&self, party: &Party, now_ms: i64) -> Result<(), i64> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = book.parties.get(party).copied().filter(|failures| !failures.are_forgotten(now_ms));
        if let Some(failures) = known {
            let all_ms = (book.all_until_ms - now_ms).min(ALL * ALL_PAUSE_MS) - (ALL - 1) * ALL_PAUSE_MS;
            let wait_ms = failures.wait_ms(now_ms).max(all_ms);
            if wait_ms > 0 {
                return Err(wait_ms);
            }
        } else {
            book.make_room(now_ms);
        }
        let count = known.map_or(0, |failures| failures.count).saturating_add(1);
        book.parties.insert(party.clone(), Failures { count, last_ms: now_ms });
        book.all_until_ms = book.all_until_ms.clamp(now_ms, now_ms + ALL * ALL_PAUSE_MS) + ALL_PAUSE_MS;
        Ok(())
    }

    /// The latest try was none of the failures, and those before it are forgiven.
    pub(super) fn succeeded(&self, party: &Party) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.parties.remove(party);
        book.all_until_ms -= ALL_PAUSE_MS;
    }
}

impl Book {
    /// Forgets what is old, and where that is nothing, what is oldest.
    fn make_room(&mut self, now_ms: i64) {
        if self.parties.len() < PARTIES {
            return;
        }
        self.parties.retain(|_, failures| !failures.are_forgotten(now_ms));
        if self.parties.len() >= PARTIES
            && let Some(oldest) = self.parties.iter().min_by_key(|(_, failures)| failures.last_ms)
        {
            let oldest = oldest.0.clone();
            self.parties.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u32) -> Party {
        Party::of(Some(IpAddr::V4(n.into())), None)
    }

    #[test]
    fn whoever_fails_again_and_again_waits_longer_and_longer_up_to_a_minute() {
        let (tries, stranger) = (Tries::default(), network(1));
        let mut now_ms = 1_700_000_000_000;
        for _ in 0..=FREE {
            assert_eq!(tries.begin(&stranger, now_ms), Ok(()));
        }
        for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(tries.begin(&stranger, now_ms), Err(wait_ms));
            assert_eq!(tries.begin(&stranger, now_ms + wait_ms - 1), Err(1), "asking costs nothing");
            assert_eq!(tries.begin(&network(2), now_ms), Ok(()), "others do not wait for them");
            tries.succeeded(&network(2));
            now_ms += wait_ms;
            assert_eq!(tries.begin(&stranger, now_ms), Ok(()));
        }
        now_ms += FORGOTTEN_MS;
        for _ in 0..=FREE {
            assert_eq!(tries.begin(&stranger, now_ms), Ok(()), "all is forgotten");
        }
        assert_eq!(tries.begin(&stranger, now_ms), Err(1_000));
        assert_eq!(tries.begin(&stranger, now_ms - 1), Ok(()), "a clock that was set back");
    }

    #[test]
    fn success_forgives() {
        let (tries, owner) = (Tries::default(), network(1));
        for _ in 0..100 {
            assert_eq!(tries.begin(&owner, 0), Ok(()));
            tries.succeeded(&owner);
        }
    }

    #[test]
    fn all_together_are_slowed_but_not_those_who_have_not_failed() {
        let tries = Tries::default();
        for n in 0..ALL as u32 {
            assert_eq!(tries.begin(&network(n), 0), Ok(()));
        }
        assert_eq!(tries.begin(&network(0), 0), Err(ALL_PAUSE_MS));
        assert_eq!(tries.begin(&network(ALL as u32 + 1), 0), Ok(()), "a first try never waits");
        assert_eq!(tries.begin(&network(0), ALL_PAUSE_MS * 2), Ok(()));
        assert_eq!(tries.begin(&network(1), ALL_PAUSE_MS * 2), Err(ALL_PAUSE_MS));
    }

    #[test]
    fn a_flood_takes_no_memory_and_leaves_the_latest() {
        let tries = Tries::default();
        for n in 0..3 * PARTIES as u32 {
            tries.begin(&network(n), i64::from(n)).expect("a first try");
        }
        let book = tries.0.lock().expect("nobody else");
        assert_eq!(book.parties.len(), PARTIES);
        assert!(book.parties.contains_key(&network(3 * PARTIES as u32 - 1)));
    }

    #[test]
    fn somebodys_addresses_are_one_network_and_keys_are_counted_apart() {
        let of = |address: &str, key: Option<&str>| Party::of(address.parse().ok(), key.map(str::to_owned));
        assert_eq!(of("2001:db8::1", None), of("2001:db8::2:3:4", None));
        assert_ne!(of("2001:db8::1", None), of("2001:db8:0:1::1", None));
        assert_eq!(of("::ffff:192.0.2.1", None), of("192.0.2.1", None));
        assert_ne!(of("192.0.2.1", None), of("192.0.2.2", None));
        assert_ne!(of("192.0.2.1", None), of("192.0.2.1", Some("id")));
    }
}
