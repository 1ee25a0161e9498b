//! Memory that a thread keeps between calls, so that kernels do not allocate once they are warm.

use std::cell::Cell;
use std::thread::LocalKey;

thread_local! {
    static KEPT: Cell<Vec<Vec<f32>>> = const { Cell::new(Vec::new()) };
    static LANES: Cell<Vec<Vec<u32>>> = const { Cell::new(Vec::new()) };
}

/// Numbers above which a piece is given back instead of kept: 256 MiB.
const KEEP: usize = 1 << 26;

/// Lends a piece of this length, whose contents are whatever the last user left.
///
/// Several may be lent at once: a thread that waits for others may be given another task meanwhile.
pub(crate) fn lend<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    lend_from(&KEPT, length, work)
}

/// The same for lanes of whole numbers.
pub(crate) fn lend_lanes<R>(length: usize, work: impl FnOnce(&mut [u32]) -> R) -> R {
    lend_from(&LANES, length, work)
}

fn lend_from<T: Copy + Default, R>(
    all: &'static LocalKey<Cell<Vec<Vec<T>>>>,
    length: usize,
    work: impl FnOnce(&mut [T]) -> R,
) -> R {
    let mut kept = all.take();
    // the largest that is free, so that few grow
    let mut piece = kept.pop().unwrap_or_default();
    all.set(kept);
    if piece.len() < length {
        piece.resize(length, T::default());
    }
    let result = work(&mut piece[..length]);
    if piece.len() <= KEEP {
        let mut kept = all.take();
        let at = kept.partition_point(|other| other.len() <= piece.len());
        kept.insert(at, piece);
        all.set(kept);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_kept_and_may_be_nested() {
        let first = lend(1000, |outer| {
            outer.fill(1.0);
            lend(10, |inner| inner.fill(2.0));
            assert!(outer.iter().all(|x| *x == 1.0));
            outer.as_ptr() as usize
        });
        assert_eq!(lend(1000, |again| again.as_ptr() as usize), first, "the largest is lent first");
    }
}
