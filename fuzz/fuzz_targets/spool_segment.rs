//! What a process that is gone has left in its spool: records, whole or torn.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let (torn, whole) = scumble_files::read_segment(bytes);
    assert!(torn <= bytes.len() && whole <= 1, "{torn} and {whole} records in {} bytes", bytes.len());
}
