//! The options of a job as a database holds them, maybe those of another version.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::JobOptions;
use serde_json::Value;

scumble_fuzz::target!(|bytes| if let Ok(stored) = serde_json::from_slice::<Value>(bytes) {
    let options = JobOptions::of(&stored);
    assert_eq!(JobOptions::of(&options.to_json()), options);
});
