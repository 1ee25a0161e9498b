//! When a maker is asked again, and after which pause.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::brake::Reach;
use super::error::MakerError;
use crate::wire::Answer;

/// What a maker's answer means for what happens next.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is an answer.
    Fine,
    /// Too much at once; after this time there may be room.
    Limited(Option<Duration>),
    /// Down for the moment. Nothing was made, so it may be asked again so often.
    Down { again: u32 },
    /// The request broke on the way back: it may have been billed.
    Lost,
    /// Our key or our model is refused: operators have to act.
    Denied(Reach, MakerError),
    /// This request is refused.
    Refused(MakerError),
}

/// The longest that a call waits for room in all.
pub(crate) const ROOM: Duration = Duration::from_secs(60);
/// How often a maker that cannot be reached is tried again.
const UNREACHED: u32 = 3;

/// How the time of pauses passes: as it is, but in tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(pub(crate) f64);

impl Pace {
    pub(crate) fn of(self, pause: Duration) -> Duration {
        pause.mul_f64(self.0)
    }
}

/// What one call has tried so far.
#[derive(Default)]
pub(crate) struct Tries {
    unreached: u32,
    limited: u32,
    down: u32,
    waited: Duration,
}

impl Tries {
    /// Nothing was sent: the pause before the next attempt.
    pub(crate) fn unreached(&mut self) -> Option<Duration> {
        self.unreached += 1;
        (self.unreached <= UNREACHED).then(|| jittered(doubled(Duration::from_millis(500), self.unreached)))
    }

    /// The maker has no room: the pause it asks for, or a growing one; none past a minute in all.
    pub(crate) fn limited(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.limited += 1;
        let own = || jittered(doubled(Duration::from_secs(1), self.limited.min(4)));
        let pause = asked.unwrap_or_else(own);
        self.waited += pause;
        // what was asked for is waited for in full or not at all
        (self.waited <= ROOM && self.limited <= 20).then_some(pause)
    }

    /// The maker is down.
    pub(crate) fn down(&mut self, again: u32) -> Option<Duration> {
        self.down += 1;
        (self.down <= again).then(|| jittered(doubled(Duration::from_secs(1), self.down)))
    }
}

fn doubled(first: Duration, attempt: u32) -> Duration {
    first * 2u32.saturating_pow(attempt.saturating_sub(1))
}

/// Up to a quarter more, so that jobs that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    let share = getrandom::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 1024.0);
    pause.mul_f64(1.0 + share)
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.header("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some((at - OffsetDateTime::now_utc()).try_into().unwrap_or_default())
}

/// `"26s"`, `"0.5s"`.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut tries = Tries::default();
        let pauses: Vec<_> = std::iter::from_fn(|| tries.unreached()).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(pauses.len(), 3);
        for (pause, least) in pauses.iter().zip([0.5, 1.0, 2.0]) {
            assert!((least..=least * 1.25).contains(pause), "{pauses:?}");
        }
        let mut tries = Tries::default();
        let waited: Duration = std::iter::from_fn(|| tries.limited(None)).sum();
        assert!(waited <= ROOM && waited > Duration::from_secs(40), "{waited:?}");
        let seconds = |n| Some(Duration::from_secs(n));
        let mut tries = Tries::default();
        assert_eq!((tries.limited(seconds(26)), tries.limited(seconds(26))), (seconds(26), seconds(26)));
        assert_eq!(tries.limited(seconds(26)), None);
        assert_eq!(Tries::default().limited(seconds(61)), None, "a day's quota is not waited for");
    }

    #[test]
    fn waiting_times_are_read() {
        let after = |text: &str| {
            let headers = [("retry-after".to_owned(), text.to_owned())].into();
            retry_after(&Answer { status: 429, headers, body: Default::default() })
        };
        assert_eq!((after("5"), after("0.5")), (Some(Duration::from_secs(5)), Some(Duration::from_millis(500))));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = (OffsetDateTime::now_utc() + Duration::from_secs(100)).format(&Rfc2822).expect("a date");
        assert!(after(&soon).is_some_and(|wait| (98..=100).contains(&wait.as_secs())), "{soon}");
        assert_eq!((after("later"), after("-3"), after("1e400")), (None, None, None));
        assert_eq!(
            (seconds("26s"), seconds("0.05s")),
            (Some(Duration::from_secs(26)), Some(Duration::from_millis(50)))
        );
        assert_eq!((seconds("26"), seconds("-1s"), seconds("s")), (None, None, None));
    }
}
