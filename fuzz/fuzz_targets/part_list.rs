//! The list of parts that completes an upload.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::part_list(bytes));
