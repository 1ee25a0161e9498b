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

/// The level in use: the machine's, or a smaller one that the environment variable `SCUMBLE_ISA` names, for comparisons.
///
/// A name that is not known, or a level that the machine lacks, changes nothing.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let machine = Level::of_machine();
        let wanted = std::env::var("SCUMBLE_ISA").ok();
        let known = [Level::Portable, Level::Avx2, Level::Avx512];
        let wanted = wanted.and_then(|name| known.into_iter().find(|level| level.name() == name));
        wanted.map_or(machine, |level| level.min(machine))
    })
}
