//! `x-fal-object-lifecycle`. What was read is read again from where it is kept.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::Lifecycle;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else { return };
    if let Ok(lifecycle) = Lifecycle::parse(header) {
        assert!(lifecycle.expires_ms(0).is_none_or(|at| at > 0), "{lifecycle:?}");
        let kept = serde_json::to_value(&lifecycle).expect("JSON");
        assert_eq!(Lifecycle::from_value(&kept), Ok(lifecycle));
    }
}
