//! What stands in a field that names a file. A data URI gives no more bytes than it may.
#![cfg_attr(fuzzing, no_main)]

use scumble_fetch::Source;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(Source::Data(data)) = Source::parse(text) else { return };
    let whole = data.decode(u64::MAX);
    for max in [0, 1, 3, 64] {
        match (data.decode(max), &whole) {
            (Ok(bytes), Ok(whole)) => assert!(bytes.len() as u64 <= max && bytes == *whole, "{text}"),
            (Ok(_), Err(error)) => panic!("{text}: {error}"),
            (Err(_), _) => {}
        }
    }
}
