//! The headers of a call, in lines.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::call_headers(bytes));
