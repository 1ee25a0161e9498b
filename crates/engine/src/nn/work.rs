//! How much was multiplied, for whoever measures.

use std::sync::atomic::{AtomicU64, Ordering};

/// One sum for the process, since operations know nothing of the run that they are part of. Nothing is ordered by it, so the
/// additions need not be ordered either; one for each operation costs nothing beside the operation.
static MULTIPLY_ADDS: AtomicU64 = AtomicU64::new(0);

/// An operation of so many rows, columns and terms in each sum.
pub(super) fn count(rows: usize, terms: usize, columns: usize) {
    MULTIPLY_ADDS.fetch_add(rows as u64 * terms as u64 * columns as u64, Ordering::Relaxed);
}

/// Multiplications with an addition, in linears, attention and convolutions of this process so far: as their definitions have
/// them, whatever the kernels save. What adapters add to a linear, and the choice of experts, are not among them.
///
/// Runs beside each other share the count.
pub fn multiply_adds() -> u64 {
    MULTIPLY_ADDS.load(Ordering::Relaxed)
}
