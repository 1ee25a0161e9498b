//! A token, or what one names, and an endpoint's id.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Some((first, second)) = scumble_fuzz::two_texts(bytes) {
    scumble_server::fuzz::token(first, second);
});
