//! A range of bytes of a file; the first eight bytes are the file's size.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Some((size, text)) = bytes.split_first_chunk() {
    if let Ok(text) = std::str::from_utf8(text) {
        scumble_server::fuzz::byte_range(text, i64::from_be_bytes(*size));
    }
});
