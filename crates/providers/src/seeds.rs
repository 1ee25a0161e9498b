//! Seeds that makers take: 0 to 2³¹ − 1.

/// How many seeds there are.
pub(crate) const SEEDS: u64 = 1 << 31;

/// Any seed as one that every maker takes.
pub(crate) fn reduced(seed: u64) -> u64 {
    seed % SEEDS
}

/// The seed of the picture with this number, from 0.
pub(crate) fn nth(seed: u64, index: u32) -> u64 {
    (reduced(seed) + u64::from(index)) % SEEDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_wrap() {
        assert_eq!((nth(5, 2), nth(SEEDS - 1, 1), nth(u64::MAX, 0)), (7, 0, SEEDS - 1));
    }
}
