//! A session on a WebSocket: the frames of a caller, from the first byte to the last.
#![cfg_attr(fuzzing, no_main)]

use std::time::Duration;

use scumble_fuzz::Cost;

// a session that waits for a goodbye does so for two seconds
scumble_fuzz::target!(Cost { time: Duration::from_secs(4), ..Cost::TEXT }, |bytes| scumble_server::fuzz::session(bytes));
