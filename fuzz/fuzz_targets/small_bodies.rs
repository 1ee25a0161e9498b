//! The JSON bodies of calls around files and tokens.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::small_bodies(bytes));
