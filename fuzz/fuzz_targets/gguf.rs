//! Headers of GGUF files: every place lies within the file, whatever the header says.
#![cfg_attr(fuzzing, no_main)]

use scumble_fuzz::Cost;

scumble_fuzz::target!(Cost { memory: 24 * 1024 * 1024, ..Cost::TEXT }, |bytes| check(bytes));

fn check(bytes: &[u8]) {
    if let Err(said) = scumble_engine::weights::count_gguf_tensors(bytes) {
        assert!(said.len() < 2000 && !said.contains('\u{1b}'), "{said}");
    }
}
