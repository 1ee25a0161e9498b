//! The query of a submit.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(text) = std::str::from_utf8(bytes) {
    scumble_server::fuzz::submit_query(text);
});
