//! A request's target and its `Authorization`.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Some((first, second)) = scumble_fuzz::two_texts(bytes) {
    scumble_server::fuzz::credentials(first, second);
});
