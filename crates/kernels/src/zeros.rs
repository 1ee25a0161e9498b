//! Outputs of kernels.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Numbers below which one thread is as fast: 1 MiB.
const SMALL: usize = 1 << 18;
/// Numbers that a task writes.
const TASK: usize = 1 << 16;

/// So many zeros, written by all threads: the system gives and clears a page when it is written first, which takes as long as a
/// large product saves by its second thread.
pub fn zeros(length: usize) -> Vec<f32> {
    if length < SMALL {
        return vec![0.0; length];
    }
    let mut numbers = Vec::with_capacity(length);
    let places = &mut numbers.spare_capacity_mut()[..length];
    places.par_chunks_mut(TASK).for_each(|places| places.fill(MaybeUninit::new(0.0)));
    #[expect(unsafe_code, reason = "a vector cannot be filled by several threads otherwise")]
    // SAFETY: the first `length` places were all written just now.
    unsafe {
        numbers.set_len(length);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_any_length_are_there() {
        for length in [0, 1, SMALL - 1, SMALL, SMALL + TASK + 1] {
            let numbers = zeros(length);
            assert!(numbers.len() == length && numbers.iter().all(|x| x.to_bits() == 0), "{length}");
        }
    }
}
