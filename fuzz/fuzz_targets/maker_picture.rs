//! What a maker says is a picture.
#![cfg_attr(fuzzing, no_main)]

use scumble_fuzz::Cost;

// a maker's pictures are as large as their heads say, up to what is ever unpacked: here a small one
scumble_fuzz::target!(Cost::PICTURE, |bytes| if scumble_pictures::head(bytes, 64 * 64).is_ok()
    || bytes.starts_with(b"<")
{
    scumble_providers::fuzz::picture(bytes);
});
