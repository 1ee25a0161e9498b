//! A record of an exchange with a maker, as a tape holds it.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(text) = std::str::from_utf8(bytes) {
    scumble_providers::fuzz::record(text);
});
