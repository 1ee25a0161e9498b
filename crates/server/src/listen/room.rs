//! Room for connections, shared out so that nobody takes it all.
//!
//! Every address has its part of the places. Behind them is a little spare room for those who come too late, in which
//! `/health` and `/ready` are answered and nothing else: whoever watches this server hears that it lives, and everybody
//! else hears why they have to wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scumble_meters::{Meters, Room as Label};

/// Places in the spare room…
const SPARE: usize = 64;
/// …and how many of them one address may have.
const SPARE_PER_ADDRESS: usize = 16;

/// Everybody's places.
#[derive(Clone)]
pub(super) struct Room(Arc<Shared>);

struct Shared {
    all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
    meters: Meters,
}

#[derive(Default)]
struct Taken {
    all: Count,
    /// Only those who have a place are here, so it does not grow.
    by_source: HashMap<Source, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    places: usize,
    spare: usize,
}

/// Who counts as one: an IPv4 address, or the /64 that one customer of a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(Ipv4Addr),
    V6([u8; 8]),
}

/// Why a connection is in the spare room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// All places are taken.
    Server,
    /// All places of its address are.
    Address,
}

/// A place, held until it is dropped.
pub(super) struct Place {
    room: Room,
    source: Source,
    pub(super) crowded: Option<Crowded>,
}

impl Room {
    pub(super) fn new(all: usize, per_address: usize, meters: Meters) -> Self {
        Self(Arc::new(Shared { all, per_address, taken: Mutex::default(), meters }))
    }

    /// A place for a connection from this address; `None` where there is not even a spare one.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = Source::of(address);
        let mut taken = self.taken();
        let all = taken.all;
        let own = taken.by_source.get(&source).copied().unwrap_or_default();
        let crowded = if own.places >= self.0.per_address {
            Some(Crowded::Address)
        } else if all.places >= self.0.all {
            Some(Crowded::Server)
        } else {
            None
        };
        if crowded.is_some() && (all.spare >= SPARE || own.spare >= SPARE_PER_ADDRESS) {
            return None;
        }
        let Taken { all, by_source } = &mut *taken;
        for count in [all, by_source.entry(source).or_default()] {
            *count.of(crowded) += 1;
        }
        self.0.meters.http.connections.of(label(crowded)).inc();
        Some(Place { room: self.clone(), source, crowded })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As it is counted.
fn label(crowded: Option<Crowded>) -> Label {
    if crowded.is_some() { Label::Spare } else { Label::Served }
}

impl Count {
    fn of(&mut self, crowded: Option<Crowded>) -> &mut usize {
        if crowded.is_some() { &mut self.spare } else { &mut self.places }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.meters.http.connections.of(label(self.crowded)).dec();
        let mut taken = self.room.taken();
        *taken.all.of(self.crowded) -= 1;
        if let Some(count) = taken.by_source.get_mut(&self.source) {
            *count.of(self.crowded) -= 1;
            if count.places + count.spare == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(room: &Room, address: &str) -> Option<Place> {
        room.enter(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_has_its_part_and_then_the_spare_room() {
        let room = Room::new(100, 3, Meters::new());
        let held: Vec<_> = (0..3).map(|_| enter(&room, "10.0.0.1").expect("a place")).collect();
        assert!(held.iter().all(|place| place.crowded.is_none()));
        let spare: Vec<_> = (0..SPARE_PER_ADDRESS).map(|_| enter(&room, "::ffff:10.0.0.1").expect("spare")).collect();
        assert!(spare.iter().all(|place| place.crowded == Some(Crowded::Address)), "mapped or not, it is the same");
        assert!(enter(&room, "10.0.0.1").is_none());
        assert_eq!(enter(&room, "10.0.0.2").expect("a place").crowded, None);
        drop(held);
        assert_eq!(enter(&room, "10.0.0.1").expect("a place").crowded, None);
        drop(spare);
        assert!(room.taken().by_source.is_empty(), "who has left is forgotten");
    }

    #[test]
    fn a_full_server_keeps_a_few_spare_places() {
        let room = Room::new(2, 100, Meters::new());
        let _held = [enter(&room, "10.0.0.1"), enter(&room, "2001:db8:0:1::1")];
        let spare: Vec<_> = (0..SPARE + 5).filter_map(|n| enter(&room, &format!("10.1.0.{n}"))).collect();
        assert_eq!(spare.len(), SPARE);
        assert!(spare.iter().all(|place| place.crowded == Some(Crowded::Server)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
