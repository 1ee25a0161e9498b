//! The cookies of a request, one line each.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(lines) = std::str::from_utf8(bytes) {
    scumble_server::fuzz::cookies(lines);
});
