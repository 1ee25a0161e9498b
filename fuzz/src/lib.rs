//! What the targets share.
//!
//! `cargo fuzz run TARGET` fuzzes one (README.md says how). Without cargo-fuzz each target is a plain program that runs
//! over the files it is given: `cargo run --bin TARGET -- corpus/TARGET/*` shows again what a fuzzer has found.
//!
//! Every target is measured: what it may take of time and memory hangs on the length of its input alone ([`Cost`]).

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What reading an input may take: so much in any case, and so much for each of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Bytes of memory at once.
    pub memory: usize,
    /// …and for each byte of input.
    pub memory_per_byte: usize,
    /// Time; what is measured runs with sanitizers, on machines that have other things to do.
    pub time: Duration,
    /// …and for each byte of input.
    pub time_per_byte: Duration,
}

impl Cost {
    /// Texts, numbers, JSON: a value takes up to thirty-two bytes for one of its text, and again while its list grows.
    pub const TEXT: Self = Self {
        memory: 4 * 1024 * 1024,
        memory_per_byte: 256,
        time: Duration::from_millis(500),
        time_per_byte: Duration::from_micros(200),
    };

    /// Pictures of up to 64 × 64 pixels: decoders have tables, and copy their file a few times.
    pub const PICTURE: Self = Self { memory: 24 * 1024 * 1024, memory_per_byte: 16, ..Self::TEXT };
}

/// Does something with an input, and looks at what it takes.
///
/// # Panics
/// When that is more than it may.
pub fn measured(bytes: usize, cost: Cost, work: impl FnOnce()) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let began = Instant::now();
    work();
    let (time, memory) = (began.elapsed(), MEMORY.peak_usage().saturating_sub(before));
    let most = cost.memory + cost.memory_per_byte * bytes;
    assert!(memory <= most, "{bytes} bytes of input took {memory} bytes of memory; at most {most} may be");
    let longest = cost.time + cost.time_per_byte * u32::try_from(bytes).unwrap_or(u32::MAX);
    assert!(time <= longest, "{bytes} bytes of input took {time:?}; at most {longest:?} may be");
}

/// Declares what a target does with bytes, and what that may cost where it is not [`Cost::TEXT`].
#[macro_export]
macro_rules! target {
    (|$bytes:ident| $body:expr) => {
        $crate::target!($crate::Cost::TEXT, |$bytes| $body);
    };
    ($cost:expr, |$bytes:ident| $body:expr) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|$bytes: &[u8]| {
            $crate::measured($bytes.len(), $cost, || {
                $body;
            });
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for path in std::env::args().skip(1) {
                let content = std::fs::read(path)?;
                let $bytes: &[u8] = &content;
                $crate::measured($bytes.len(), $cost, || {
                    $body;
                });
            }
            Ok(())
        }
    };
}

/// Two texts out of one input, split at its first zero byte.
pub fn two_texts(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once('\0')
}
