//! A body in OpenAI's shape is refused with words for people, or becomes an input that its endpoint can judge.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::{OpenAiCall, Scope};
use serde_json::Value;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else { return };
    match OpenAiCall::read(&body) {
        Ok(call) => {
            assert!(call.input.is_object());
            let _ = call.endpoint.parse(&call.input, Scope::Wire);
        }
        Err(error) => {
            assert!((400..500).contains(&error.status) && !error.message.is_empty());
            assert_eq!(error.body()["error"]["message"], error.message.as_str());
        }
    }
}
