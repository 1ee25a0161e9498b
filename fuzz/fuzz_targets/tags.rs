//! `x-fal-tags`.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(header) = std::str::from_utf8(bytes) {
    let _ = scumble_api::tags(header);
});
