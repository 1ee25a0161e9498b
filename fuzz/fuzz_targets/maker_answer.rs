//! What a maker answers: a status and a body. No answer, however odd, is a picture or a bill by mistake, and what callers are
//! told has words.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| if let Some((status, body)) = bytes.split_first_chunk() {
    scumble_providers::fuzz::answer(100 + u16::from_be_bytes(*status) % 500, body);
});
