//! The head of a JPEG file.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::preview(bytes));
