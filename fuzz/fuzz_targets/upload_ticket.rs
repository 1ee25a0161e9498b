//! The ticket of an upload, made by somebody else or signed by the server.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Ok(text) = std::str::from_utf8(bytes) {
    scumble_server::fuzz::upload_ticket(text);
});
