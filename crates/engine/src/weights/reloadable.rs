//! Parts of a model that may leave memory when they were used, and come back from their files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::Result;
use crate::observer::{Observer, Stage};

/// What a memory budget may decide of a part that can be read again. Both wait while it is being read.
pub trait Evict {
    /// Whether the part stays in memory when nobody uses it, as it does unless told otherwise. Told not to, it goes as
    /// soon as the last stage that uses it has ended, at once where there is none; the next call reads its files again.
    fn keep(&self, keep: bool);

    /// Whether it is in memory now, kept or in use.
    fn is_held(&self) -> bool;
}

/// A part of a model, and how to read it again. A clone shares both.
pub(crate) struct Reloadable<T> {
    shared: Arc<Shared<T>>,
    /// What this call uses in its place.
    own: Option<Arc<T>>,
}

struct Shared<T> {
    load: Box<Load<T>>,
    slot: Mutex<Slot<T>>,
}

type Load<T> = dyn Fn() -> Result<T> + Send + Sync;

struct Slot<T> {
    keep: bool,
    kept: Option<Arc<T>>,
    /// The one that was read last, for as long as somebody uses it: it is not read twice meanwhile.
    last: Weak<T>,
}

impl<T> Reloadable<T> {
    /// A part that is read now.
    pub(crate) fn now(load: impl Fn() -> Result<T> + Send + Sync + 'static) -> Result<Self> {
        let this = Self::later(load);
        this.obtain(|| Ok(()))?;
        Ok(this)
    }

    /// A part that is read when it is first used.
    pub(crate) fn later(load: impl Fn() -> Result<T> + Send + Sync + 'static) -> Self {
        let slot = Mutex::new(Slot { keep: true, kept: None, last: Weak::new() });
        Self { shared: Arc::new(Shared { load: Box::new(load), slot }), own: None }
    }

    /// The same part for a call that uses this one in its place: changed by adapters, or borrowed before.
    pub(crate) fn using(&self, own: Arc<T>) -> Self {
        Self { own: Some(own), ..self.clone() }
    }

    /// The part; the observer hears where it has to be read, and may refuse.
    pub(crate) fn get(&self, observer: &dyn Observer) -> Result<Arc<T>> {
        self.obtain(|| observer.stage(Stage::Load).check())
    }

    /// The part, whoever watches.
    pub(crate) fn get_unobserved(&self) -> Result<Arc<T>> {
        self.obtain(|| Ok(()))
    }

    /// Does the work of a stage with the part. This use of it ends here, so that a part which is not kept is gone before the next
    /// stage begins.
    pub(crate) fn during<R>(self, observer: &dyn Observer, work: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        work(&*self.get(observer)?)
    }

    /// Calls that need it at the same time wait for each other rather than read it twice.
    fn obtain(&self, announce: impl FnOnce() -> Result<()>) -> Result<Arc<T>> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        if let Some(part) = self.slot().last.upgrade() {
            return Ok(part);
        }
        // whoever hears it may ask of this part
        announce()?;
        let mut slot = self.slot();
        if let Some(part) = slot.last.upgrade() {
            return Ok(part);
        }
        let part = Arc::new((self.shared.load)()?);
        slot.last = Arc::downgrade(&part);
        slot.kept = slot.keep.then(|| part.clone());
        Ok(part)
    }

    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Evict for Reloadable<T> {
    fn keep(&self, keep: bool) {
        let mut slot = self.slot();
        slot.keep = keep;
        slot.kept = if keep { slot.last.upgrade() } else { None };
    }

    fn is_held(&self) -> bool {
        self.slot().last.strong_count() > 0
    }
}

impl<T> Clone for Reloadable<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), own: self.own.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::observer::{Control, Unobserved};

    /// Counts how often it was read.
    fn counted() -> Reloadable<usize> {
        let reads = AtomicUsize::new(0);
        Reloadable::later(move || Ok(1 + reads.fetch_add(1, Ordering::Relaxed)))
    }

    fn read(part: &Reloadable<usize>) -> Result<usize> {
        part.clone().during(&Unobserved, |number| Ok(*number))
    }

    #[test]
    fn a_part_stays_unless_told_otherwise_and_comes_back() -> Result<()> {
        let part = counted();
        assert!(!part.is_held(), "nobody asked for it yet");
        assert_eq!([read(&part)?, read(&part)?], [1, 1]);
        assert!(part.is_held());
        part.keep(false);
        assert!(!part.is_held());
        assert_eq!([read(&part)?, read(&part)?], [2, 3]);
        assert!(!part.is_held());
        part.keep(true);
        assert_eq!([read(&part)?, read(&part)?], [4, 4]);
        Ok(())
    }

    #[test]
    fn who_uses_it_shares_it_and_the_last_one_lets_go() -> Result<()> {
        let part = counted();
        part.keep(false);
        let first = part.get(&Unobserved)?;
        assert_eq!(read(&part)?, 1, "it is there, so it is not read again");
        drop(first);
        assert!(!part.is_held());
        // kept from the middle of its use on
        let second = part.get(&Unobserved)?;
        part.keep(true);
        drop(second);
        assert_eq!((part.is_held(), read(&part)?), (true, 2));
        // one that stands in for it is used, and is gone with its call
        let other = Arc::new(9);
        assert_eq!(part.using(other.clone()).during(&Unobserved, |number| Ok(*number))?, 9);
        assert_eq!(Arc::strong_count(&other), 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_or_was_refused_is_tried_again() -> Result<()> {
        struct Refuses;
        impl Observer for Refuses {
            fn stage(&self, stage: Stage) -> Control {
                assert_eq!(stage, Stage::Load);
                Control::Cancel
            }
        }
        let part = counted();
        assert!(matches!(part.get(&Refuses), Err(Error::Cancelled)));
        assert_eq!(read(&part)?, 1);
        assert_eq!(*part.get(&Refuses)?, 1, "nothing is read, nobody is asked");
        let broken = AtomicUsize::new(0);
        let part = Reloadable::later(move || match broken.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::Cancelled),
            number => Ok(number),
        });
        assert!(read(&part).is_err() && !part.is_held());
        assert_eq!(read(&part)?, 1);
        Ok(())
    }
}
