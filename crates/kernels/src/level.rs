//! Which instruction sets this run uses.

use std::sync::OnceLock;

/// A set of instructions that kernels are compiled for, from the smallest to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every machine of this architecture has.
    Portable,
    /// AVX2 and FMA: x86-64 machines since about 2013.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
}

impl Level {
    /// All of them, from the smallest.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Its name in `SCUMBLE_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The largest that this machine has.
    pub fn of_machine() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }
}

static LEVEL: OnceLock<Level> = OnceLock::new();

/// The level in use: the machine's, or the smaller one that [`at_most`] named.
pub fn level() -> Level {
    *LEVEL.get_or_init(Level::of_machine)
}

/// Takes a smaller level than the machine's from here on, for comparisons; tells which one is in use then. Once a kernel has
/// run, it is what it was.
pub fn at_most(limit: Level) -> Level {
    *LEVEL.get_or_init(|| Level::of_machine().min(limit))
}
