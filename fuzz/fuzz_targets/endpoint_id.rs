//! An id is read, and its own text means the same id.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::EndpointId;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(id) = EndpointId::parse(text) {
        let again = EndpointId::parse(id.as_str()).expect("an id reads its own text");
        assert_eq!(again.as_str(), id.as_str());
        assert!(id.as_str().starts_with(id.app_path().as_str()));
    }
}
