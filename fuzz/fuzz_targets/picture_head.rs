//! The head of a picture: read alone, whatever size it says, and without the room that its pixels would take.
#![cfg_attr(fuzzing, no_main)]

use scumble_fuzz::Cost;
use scumble_pictures::{FORMATS, head, lean};

scumble_fuzz::target!(Cost { memory: 1024 * 1024, ..Cost::PICTURE }, |bytes| check(bytes));

fn check(bytes: &[u8]) {
    if let Ok(head) = head(bytes, u64::MAX) {
        assert!(head.pixels() > 0 && head.cost() >= head.pixels());
    }
    for (format, _) in FORMATS {
        let lean = lean::lean(bytes, format);
        assert!(lean.len() <= bytes.len());
        assert_eq!(lean::lean(&lean, format), lean, "what is lean stays as it is");
    }
}
