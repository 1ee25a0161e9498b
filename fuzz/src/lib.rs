//! What the targets share.
//!
//! `cargo fuzz run TARGET` fuzzes one (README.md says how). Without cargo-fuzz each target is a plain program that runs
//! over the files it is given: `cargo run --bin TARGET -- corpus/TARGET/*` shows again what a fuzzer has found.

/// Declares what a target does with bytes.
#[macro_export]
macro_rules! target {
    (|$bytes:ident| $body:expr) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|$bytes: &[u8]| {
            $body;
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for path in std::env::args().skip(1) {
                let content = std::fs::read(path)?;
                let $bytes: &[u8] = &content;
                $body;
            }
            Ok(())
        }
    };
}

/// Two texts out of one input, split at its first zero byte.
pub fn two_texts(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once('\0')
}
