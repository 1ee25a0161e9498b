//! A message of a WebSocket, in MessagePack.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::message(bytes));
