//! Resampling against Pillow's, byte for byte.
//!
//! `golden/resized.json` is made by `golden/make_resized.py`.

use scumble_engine::{Filter, Pixels};
use serde_json::Value;

#[test]
fn resized_pictures_equal_those_of_pillow() {
    let (width, height) = (23, 17);
    let pixel = |x: usize, y: usize| {
        let checks = if (x / 4 + y / 3) % 2 == 1 { 255 } else { 0 };
        [((x * 37 + y * 11) % 256) as u8, ((x * x * 5 + y * 91) % 256) as u8, checks]
    };
    let rgb = (0..width * height).flat_map(|i| pixel(i % width, i / width)).collect();
    let picture = Pixels { width, height, rgb };
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/resized.json")).expect("the golden file");
    for case in &cases {
        let side = |name: &str| case[name].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a size");
        let filter = match case["filter"].as_str() {
            Some("lanczos") => Filter::Lanczos,
            Some("bilinear") => Filter::Bilinear,
            Some("bicubic") => Filter::Bicubic,
            other => panic!("{other:?} is no filter"),
        };
        let got = picture.resampled(side("width"), side("height"), filter);
        let hex: String = got.rgb.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(case["rgb"] == hex, "{filter:?} {}×{}", side("width"), side("height"));
    }
    assert!(cases.len() >= 21, "the golden file is whole");
}
