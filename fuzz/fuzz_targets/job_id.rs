//! A job's id has one spelling but for the case of its letters.
#![cfg_attr(fuzzing, no_main)]

use scumble_store::JobId;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<JobId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
}
