//! A proxy target leads to one of our services or nowhere.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Some((target, host)) = scumble_fuzz::two_texts(bytes) {
    scumble_server::fuzz::proxy_target(target, host);
});
