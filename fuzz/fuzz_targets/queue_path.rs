//! A path of the queue names a request or nothing.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(path) = std::str::from_utf8(bytes) {
    scumble_server::fuzz::queue_path(path);
});
