//! Which of the claimed deliveries run at once.
//!
//! Each receiver has a lane with room for a few attempts; what is claimed beyond that waits in it. So a slow receiver
//! holds up its own deliveries and nobody else's. What a lane has no room for is let go: its lease ends, and it is
//! claimed again.

use std::collections::{HashMap, VecDeque};

use scumble_store::Delivery;

/// Attempts at once, to all receivers together.
pub(super) const RUNNING: usize = 128;

/// Attempts at once to one receiver.
const RUNNING_PER_LANE: usize = 4;

/// Deliveries that wait in one lane.
const WAITING_PER_LANE: usize = 1000;

/// A delivery, and until when its attempt may begin so that its lease covers it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) delivery: Delivery,
    pub(super) begin_by_ms: i64,
}

/// The lanes that are in use, by receiver.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<String, Lane>,
    running: usize,
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Claimed>,
}

impl Lanes {
    /// How many more could run if they were for receivers with room.
    pub(super) fn room(&self) -> usize {
        RUNNING - self.running
    }

    /// Takes a claimed delivery in. What comes back is to be run now.
    pub(super) fn admit(&mut self, claimed: Claimed) -> Option<Claimed> {
        let name = receiver(&claimed.delivery.url);
        match self.lanes.get_mut(&name) {
            Some(lane) if lane.running >= RUNNING_PER_LANE => {
                if lane.waiting.len() < WAITING_PER_LANE {
                    lane.waiting.push_back(claimed);
                }
                None
            }
            _ if self.running >= RUNNING => None,
            _ => {
                self.lanes.entry(name).or_default().running += 1;
                self.running += 1;
                Some(claimed)
            }
        }
    }

    /// Notes that an attempt to a URL has ended. What comes back is to be run now in its place: the next in its lane
    /// that may still begin. The others will be claimed again.
    pub(super) fn ended(&mut self, url: &str, now_ms: i64) -> Option<Claimed> {
        let name = receiver(url);
        let lane = self.lanes.get_mut(&name)?;
        while let Some(next) = lane.waiting.pop_front() {
            if next.begin_by_ms >= now_ms {
                return Some(next);
            }
        }
        lane.running -= 1;
        self.running -= 1;
        if lane.running == 0 {
            self.lanes.remove(&name);
        }
        None
    }
}

/// Who a URL leads to, as far as it says; receivers behind one host share a lane.
fn receiver(url: &str) -> String {
    match scumble_fetch::Url::parse(url) {
        Ok(url) => url.host_str().unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scumble_store::JobId;

    fn claimed(id: i64, host: &str, begin_by_ms: i64) -> Claimed {
        let url = format!("https://{host}/hook/{id}");
        Claimed { delivery: Delivery { id, job_id: JobId::random(), url, attempt: 1, created_ms: 0 }, begin_by_ms }
    }

    fn id(claimed: Option<Claimed>) -> Option<i64> {
        claimed.map(|claimed| claimed.delivery.id)
    }

    #[test]
    fn a_receiver_has_few_at_once_and_holds_up_nobody_else() {
        let mut lanes = Lanes::default();
        let admitted: Vec<_> = (1..=6).map(|n| id(lanes.admit(claimed(n, "slow.example", 100)))).collect();
        assert_eq!(admitted, [Some(1), Some(2), Some(3), Some(4), None, None]);
        assert_eq!(id(lanes.admit(claimed(7, "other.example", 100))), Some(7));
        assert_eq!(lanes.room(), RUNNING - 5);
        assert_eq!(id(lanes.ended("https://slow.example/hook/2", 50)), Some(5));
        assert_eq!(id(lanes.ended("https://slow.example/hook/1", 50)), Some(6));
        assert_eq!(id(lanes.ended("https://slow.example/hook/5", 50)), None);
        assert_eq!(lanes.room(), RUNNING - 4);
    }

    #[test]
    fn what_has_waited_too_long_is_left_to_be_claimed_again() {
        let mut lanes = Lanes::default();
        for n in 1..=7 {
            lanes.admit(claimed(n, "a.example", 100 + n));
        }
        assert_eq!(id(lanes.ended("https://a.example/", 107)), Some(7));
        assert_eq!(id(lanes.ended("https://a.example/", 107)), None);
    }

    #[test]
    fn nothing_is_kept_of_receivers_that_have_nothing() {
        let mut lanes = Lanes::default();
        for n in 0..2 * RUNNING as i64 {
            lanes.admit(claimed(n, &format!("{n}.example"), 0));
        }
        assert_eq!(lanes.room(), 0);
        for n in 0..RUNNING as i64 {
            lanes.ended(&format!("https://{n}.example/"), 1);
        }
        assert_eq!((lanes.room(), lanes.lanes.len()), (RUNNING, 0));
    }
}
