//! The headers of an upload, in lines.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::upload_headers(bytes));
