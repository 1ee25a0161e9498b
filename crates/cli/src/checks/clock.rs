//! Leases, deadlines and certificates depend on the clock.

use scumble_store::{Clock, JobFilter, Store, SystemClock};

use super::Finding;
use crate::commands::time::iso;
use crate::failure::Failure;

/// The beginning of 2026: no clock that goes right shows less.
const SOONEST_MS: i64 = 1_767_225_600_000;
/// Clocks of several machines may differ by as much without anything going wrong.
const DRIFT_MS: i64 = 60_000;

/// What it shows.
pub(super) fn now() -> Finding {
    let now_ms = SystemClock.now_ms();
    if now_ms < SOONEST_MS {
        let now = iso(now_ms);
        return Finding::Fails(Failure::System(format!(
            "the clock shows {now}, which is long past; set it, for example with NTP"
        )));
    }
    Finding::Well(iso(now_ms))
}

/// The same, beside the times in the database.
pub(super) async fn check(store: &dyn Store) -> Finding {
    let (now_ms, shown) = (SystemClock.now_ms(), now());
    if matches!(shown, Finding::Fails(_)) {
        return shown;
    }
    let newest = JobFilter { endpoint: None, state: None, key_id: None, before: None, limit: 1 };
    let newest = match store.recent(&newest).await {
        Ok(newest) => newest.first().map_or(0, |job| job.created_ms),
        Err(error) => return Finding::Fails(error.into()),
    };
    // the queue copes with it, and it may be the clock of another machine that went wrong
    if now_ms < newest - DRIFT_MS {
        let (now, then) = (iso(now_ms), iso(newest));
        return Finding::Odd(format!(
            "the clock shows {now}, but a job was submitted at {then}, which is later; check it, NTP keeps it right"
        ));
    }
    shown
}
