//! A body in OpenAI's shape is refused with words for people, or becomes an input that its endpoint can judge.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::{OpenAiAliases, OpenAiCall, OpenAiRequest, OpenAiTask, Scope};
use serde_json::Value;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(Value::Object(given)) = serde_json::from_slice::<Value>(bytes) else { return };
    let aliases = OpenAiAliases::default();
    for (task, pictures) in
        [(OpenAiTask::Generate, 0), (OpenAiTask::Edit, 1), (OpenAiTask::Edit, 2), (OpenAiTask::Vary, 1)]
    {
        let request = OpenAiRequest { task, given: &given, pictures, mask: pictures == 1 };
        match OpenAiCall::read(request, &aliases, &|_| None) {
            Ok(mut call) => {
                call.give(&["data:,".to_owned(), "data:,".to_owned()], Some("data:,"));
                assert!((1..=10).contains(&call.inputs.len()));
                for input in &call.inputs {
                    assert!(input.is_object());
                    let _ = call.endpoint.parse(input, Scope::Wire);
                }
            }
            Err(error) => {
                assert!((400..500).contains(&error.status) && !error.message.is_empty());
                assert_eq!(error.body()["error"]["message"], error.message.as_str());
            }
        }
    }
}
