//! A picture of a caller's, in whatever format. It has the pixels that its head says, and no more than it may.
#![cfg_attr(fuzzing, no_main)]

use scumble_fuzz::Cost;

const MAX_PIXELS: u64 = 64 * 64;

scumble_fuzz::target!(Cost::PICTURE, |bytes| check(bytes));

fn check(bytes: &[u8]) {
    let head = scumble_pictures::head(bytes, MAX_PIXELS);
    match scumble_pictures::decode(bytes, MAX_PIXELS) {
        Ok(image) => {
            let head = head.expect("what can be decoded has a head");
            assert_eq!((head.width, head.height), (image.width(), image.height()));
            assert!(head.pixels() <= MAX_PIXELS);
        }
        Err(undecodable) => assert!(!undecodable.to_string().is_empty()),
    }
}
