//! The name and the type of an uploaded file. Whatever they are, its path is one.
#![cfg_attr(fuzzing, no_main)]

use scumble_files::FilePath;

scumble_fuzz::target!(|bytes| if let Some((name, content_type)) = scumble_fuzz::two_texts(bytes) {
    let path = FilePath::fresh(name, content_type).expect("random numbers");
    assert_eq!(path.as_str().parse::<FilePath>().as_ref(), Ok(&path), "{name} of {content_type}");
});
