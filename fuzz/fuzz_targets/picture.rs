//! A picture of a caller's, in whatever format. It has the pixels that it says, and no more than it may.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::Problem;

// the crate that it belongs to brings the engine along, which takes longer to build than to fuzz
#[allow(dead_code)]
#[path = "../../crates/worker/src/inputs/decode.rs"]
mod decode;

const MAX_PIXELS: u64 = 64 * 64;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    match decode::decode(bytes, MAX_PIXELS) {
        Ok(image) => {
            let pixels = u64::from(image.width) * u64::from(image.height);
            let (channels, bytes) = match &image.pixels {
                decode::InputPixels::Rgb(bytes) => (3, bytes),
                decode::InputPixels::Rgba(bytes) => (4, bytes),
            };
            assert!(pixels <= MAX_PIXELS && bytes.len() as u64 == pixels * channels, "{image:?}");
        }
        Err(undecodable) => assert!(!undecodable.problem(&["image_url"], "").msg.is_empty()),
    }
}

fn with_text(problem: Problem, text: &str) -> Problem {
    problem.given(&text.into())
}
