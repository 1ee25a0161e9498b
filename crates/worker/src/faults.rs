//! Points where a self-test may end the process, as a power cut would: nothing is finished, flushed or given back.
//!
//! No point is armed unless the owner asked for it; a point that is not armed costs one comparison.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A moment in the life of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A worker is about to look for a job.
    BeforeClaim,
    /// The pictures are made and nobody knows.
    AfterRun,
    /// A picture is about to be stored.
    BeforeFile,
    /// The pictures are stored, and the outcome is about to be.
    BeforeCommit,
    /// A webhook was sent, and nobody knows.
    InDelivery,
}

impl Point {
    /// All of them, in the order in which a job passes them.
    pub const ALL: [Self; 5] =
        [Self::BeforeClaim, Self::AfterRun, Self::BeforeFile, Self::BeforeCommit, Self::InDelivery];

    /// Its name in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeClaim => "before-claim",
            Self::AfterRun => "after-run",
            Self::BeforeFile => "before-file",
            Self::BeforeCommit => "before-commit",
            Self::InDelivery => "in-delivery",
        }
    }
}

/// Which point ends the process, if any. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Faults(Option<Armed>);

#[derive(Clone, Debug)]
struct Armed {
    point: Point,
    /// How often it is still passed unharmed.
    passes: Arc<AtomicU32>,
}

impl Faults {
    /// Ends the process at the pass of this number, counted from 1.
    pub fn at(point: Point, pass: u32) -> Self {
        Self(Some(Armed { point, passes: Arc::new(AtomicU32::new(pass.saturating_sub(1))) }))
    }

    /// Passes a point, or does not.
    pub fn pass(&self, point: Point) {
        if self.ends_at(point) {
            tracing::error!(point = point.name(), "a self-test asked for an end here");
            std::process::abort();
        }
    }

    fn ends_at(&self, point: Point) -> bool {
        let Some(armed) = self.0.as_ref().filter(|armed| armed.point == point) else { return false };
        armed.passes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_err()
    }
}

/// `after-run` or, to pass it twice unharmed, `after-run:3`.
impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pass) = text.split_once(':').unwrap_or((text, "1"));
        let known = || Point::ALL.map(Point::name).join(", ");
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        let point = point.ok_or_else(|| format!("there is no point {name}; there are {}", known()))?;
        let pass = pass.parse().ok().filter(|pass| *pass > 0).ok_or("a pass is a number from 1 on")?;
        Ok(Self::at(point, pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_armed_point_ends_anything_and_only_at_its_pass() {
        let faults: Faults = "before-file:3".parse().expect("a point");
        let clone = faults.clone();
        let ends: Vec<bool> = [&faults, &clone, &faults].map(|f| f.ends_at(Point::BeforeFile)).into();
        assert_eq!((ends, faults.ends_at(Point::AfterRun)), (vec![false, false, true], false));
        assert!(Point::ALL.iter().all(|point| !Faults::default().ends_at(*point)));
    }

    #[test]
    fn words_that_name_no_point_are_refused() {
        for bad in ["", "nowhere", "after-run:0", "after-run:x", "after-run:"] {
            assert!(bad.parse::<Faults>().is_err(), "{bad}");
        }
        assert!(Point::ALL.iter().all(|point| point.name().parse::<Faults>().is_ok()));
    }
}
