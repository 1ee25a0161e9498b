//! The `Host` of a request, and a name of the owner's.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Some((first, second)) = scumble_fuzz::two_texts(bytes) {
    scumble_server::fuzz::host(first, second);
});
