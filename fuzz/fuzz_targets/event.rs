//! A text of a caller's, on its way back as an event.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(text) = std::str::from_utf8(bytes) {
    scumble_server::fuzz::event(text);
});
