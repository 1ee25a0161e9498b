//! Sizes by name or by pixels.

/// fal's presets: name, width, height.
pub const PRESETS: &[(&str, u32, u32)] = &[
    ("square_hd", 1024, 1024),
    ("square", 512, 512),
    ("portrait_4_3", 768, 1024),
    ("portrait_16_9", 576, 1024),
    ("landscape_4_3", 1024, 768),
    ("landscape_16_9", 1024, 576),
];

/// What an absent side of a size object means.
pub(crate) const DEFAULT_SIDE: u32 = 512;

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl ImageSize {
    /// The size that a preset names.
    pub fn preset(name: &str) -> Option<Self> {
        let (_, width, height) = PRESETS.iter().find(|(preset, ..)| *preset == name)?;
        Some(Self { width: *width, height: *height })
    }

    /// From a checked object; a side that is not there is 512.
    pub(crate) fn of_object(object: &serde_json::Value) -> Self {
        let side = |name: &str| object[name].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(DEFAULT_SIDE);
        Self { width: side("width"), height: side("height") }
    }

    /// Pixels in all.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}
