//! The body of a call, before any endpoint looks at it. What is read is what serde_json reads; more than a thousand times as
//! many values as any endpoint has are not read at all.
#![cfg_attr(fuzzing, no_main)]

use serde_json::Value;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    match (scumble_api::read_json(bytes), serde_json::from_slice::<Value>(bytes)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
        (Ok(ours), Err(error)) => assert!(bytes.trim_ascii().is_empty(), "{ours}: {error}"),
        (Err(answer), _) => assert_eq!(answer.status, 422),
    }
}
