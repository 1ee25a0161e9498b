//! The sizes that Ideogram 3 draws.

use crate::sizes::{Size, nearest};

/// All of them.
#[rustfmt::skip]
const RESOLUTIONS: &[Size] = &[
    (512, 1536), (576, 1408), (576, 1472), (576, 1536), (640, 1344), (640, 1408), (640, 1472), (640, 1536),
    (704, 1152), (704, 1216), (704, 1280), (704, 1344), (704, 1408), (704, 1472), (736, 1312), (768, 1088),
    (768, 1216), (768, 1280), (768, 1344), (800, 1280), (832, 960), (832, 1024), (832, 1088), (832, 1152),
    (832, 1216), (832, 1248), (864, 1152), (896, 960), (896, 1024), (896, 1088), (896, 1120), (896, 1152), (960, 832),
    (960, 896), (960, 1024), (960, 1088), (1024, 832), (1024, 896), (1024, 960), (1024, 1024), (1088, 768),
    (1088, 832), (1088, 896), (1088, 960), (1120, 896), (1152, 704), (1152, 832), (1152, 864), (1152, 896),
    (1216, 704), (1216, 768), (1216, 832), (1248, 832), (1280, 704), (1280, 768), (1280, 800), (1312, 736),
    (1344, 640), (1344, 704), (1344, 768), (1408, 576), (1408, 640), (1408, 704), (1472, 576), (1472, 640),
    (1472, 704), (1536, 512), (1536, 576), (1536, 640),
];

/// What fal's presets become.
const PRESETS: &[(Size, Size)] = &[
    ((1024, 1024), (1024, 1024)),
    ((512, 512), (1024, 1024)),
    ((768, 1024), (864, 1152)),
    ((576, 1024), (736, 1312)),
    ((1024, 768), (1152, 864)),
    ((1024, 576), (1312, 736)),
];

/// The size that is asked for when a caller wants this one.
pub(super) fn resolution(size: Size) -> Size {
    let preset = PRESETS.iter().find(|(preset, _)| *preset == size).map(|(_, drawn)| *drawn);
    preset.unwrap_or_else(|| nearest(size, RESOLUTIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_the_nearest_that_is_drawn() {
        for (wanted, drawn) in [
            ((1280, 720), (1312, 736)),
            ((512, 512), (1024, 1024)),
            ((1200, 630), (1344, 704)),
            ((2000, 1000), (1408, 704)),
            ((3000, 1000), (1536, 512)),
        ] {
            assert_eq!(nearest(wanted, RESOLUTIONS), drawn, "{wanted:?}");
            assert_eq!(resolution(wanted), drawn, "{wanted:?}");
        }
        assert_eq!(RESOLUTIONS.len(), 69);
        assert!(PRESETS.iter().all(|(_, drawn)| RESOLUTIONS.contains(drawn)));
        assert!(scumble_api::PRESETS.iter().all(|(_, w, h)| PRESETS.iter().any(|(preset, _)| *preset == (*w, *h))));
    }
}
