//! When to try again.

use std::time::Duration;

use scumble_store::NextDelivery;

/// Attempts before a delivery is given up: with the pauses between them about a day.
const ATTEMPTS_MAX: u32 = 31;

/// The first pause; it doubles from attempt to attempt.
const FIRST_PAUSE_MS: i64 = 2_000;

/// The longest pause.
const PAUSE_MAX_MS: i64 = 60 * 60 * 1000;

/// Later attempts may take this long: a receiver that was too slow once may need the time.
const LATER_TIMEOUT: Duration = Duration::from_secs(120);

/// How long attempt number `attempt`, counted from 1, may take.
pub(super) fn timeout(attempt: u32, first: Duration) -> Duration {
    if attempt <= 1 { first } else { LATER_TIMEOUT.max(first) }
}

/// What follows when attempt number `failed`, counted from 1, has failed. `chance` is any random number: receivers that
/// went away together should not be called together.
pub(super) fn after(failed: u32, now_ms: i64, chance: u32) -> NextDelivery {
    if failed >= ATTEMPTS_MAX {
        return NextDelivery::GivenUp;
    }
    NextDelivery::At(now_ms.saturating_add(pause_ms(failed, chance)))
}

/// 2 s to 3 s, 4 s to 6 s, 8 s to 12 s and so on: always longer than the one before, up to the longest.
fn pause_ms(failed: u32, chance: u32) -> i64 {
    let pause = FIRST_PAUSE_MS.saturating_mul(1 << failed.saturating_sub(1).min(20)).min(PAUSE_MAX_MS);
    pause + pause / 2 * i64::from(chance) / i64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pause = |failed, chance| match after(failed, 1000, chance) {
            NextDelivery::At(at) => Some(at - 1000),
            NextDelivery::GivenUp => None,
            NextDelivery::Delivered => panic!("it has failed"),
        };
        assert_eq!((pause(1, 0), pause(1, u32::MAX)), (Some(2_000), Some(3_000)));
        assert_eq!((pause(2, 0), pause(5, 0)), (Some(4_000), Some(32_000)));
        for failed in 1..11 {
            assert!(pause(failed, u32::MAX) < pause(failed + 1, 0), "{failed}");
        }
        assert_eq!((pause(30, 0), pause(30, u32::MAX)), (Some(3_600_000), Some(5_400_000)));
        assert_eq!(pause(31, 0), None);
    }

    #[test]
    fn later_attempts_get_more_time() {
        let seconds = |attempt, first| timeout(attempt, Duration::from_secs(first)).as_secs();
        assert_eq!((seconds(1, 15), seconds(2, 15), seconds(31, 15)), (15, 120, 120));
        assert_eq!((seconds(1, 300), seconds(2, 300)), (300, 300));
    }
}
