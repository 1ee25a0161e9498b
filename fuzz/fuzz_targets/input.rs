//! A body is refused with problems, or becomes an input that means the same when it is read again.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::{ENDPOINTS, ErrorAnswer, Scope};
use serde_json::Value;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else { return };
    for endpoint in ENDPOINTS {
        match endpoint.parse(&body, Scope::Wire) {
            Ok(input) => {
                let stored = input.to_json();
                let again = endpoint.parse(&stored, Scope::Wire).expect("what was accepted is accepted again");
                assert_eq!(again.to_json(), stored);
                let _ = input.request();
            }
            Err(problems) => assert!(!ErrorAnswer::invalid(&problems).message().is_empty()),
        }
    }
}
