//! The path of a file never leaves its folder.
#![cfg_attr(fuzzing, no_main)]

use scumble_files::FilePath;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(path) = text.parse::<FilePath>() {
        assert_eq!(path.as_str(), text);
        let parts: Vec<&str> = text.split('/').collect();
        assert!(parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.')), "{text}");
    }
}
