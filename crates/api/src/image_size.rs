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

/// The longest side that fal's pages allow.
pub(crate) const SIDE_MAX: u32 = 14142;

/// What a model can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Least side in pixels.
    pub min: u32,
    /// Greatest side in pixels.
    pub max: u32,
    /// Greatest area in pixels.
    pub area: u64,
    /// Sides of a size that was scaled are multiples of this.
    pub step: u32,
}

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

    /// This size, or the largest one of its ratio that the limits allow, where it is too large for them; its sides are
    /// rounded to the step. `None` where the shorter side would be under the least: a picture of this ratio cannot be
    /// drawn. What comes out is within the limits, so fitting it again changes nothing.
    pub fn fit(self, limits: SizeLimits) -> Option<Self> {
        let SizeLimits { min, max, area, .. } = limits;
        if self.width <= max && self.height <= max && self.area() <= area {
            return (self.width.min(self.height) >= min).then_some(self);
        }
        let step = limits.step.max(1);
        let longest = f64::from(max) / f64::from(self.width.max(self.height));
        let scale = longest.min((area as f64 / self.area() as f64).sqrt());
        let side = |side: u32| (f64::from(side) * scale / f64::from(step)).round() as u32 * step;
        let mut fitted = Self { width: side(self.width).min(max), height: side(self.height).min(max) };
        // rounding up may have gone a step too far
        while fitted.area() > area {
            let longer = if fitted.width >= fitted.height { &mut fitted.width } else { &mut fitted.height };
            *longer = longer.saturating_sub(step);
        }
        (fitted.width.min(fitted.height) >= min.max(1)).then_some(fitted)
    }

    /// Pixels in all.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTER: SizeLimits = SizeLimits { min: 64, max: 512, area: 512 * 512, step: 32 };
    const LARGE: SizeLimits = SizeLimits { min: 16, max: SIDE_MAX, area: 4_194_304, step: 16 };

    fn fit(limits: SizeLimits, width: u32, height: u32) -> Option<(u32, u32)> {
        ImageSize { width, height }.fit(limits).map(|size| (size.width, size.height))
    }

    #[test]
    fn what_a_model_can_draw_is_left_alone_and_what_is_too_large_is_scaled() {
        for (asked, drawn) in [
            ((512, 512), (512, 512)),
            ((300, 100), (300, 100)),
            ((1024, 1024), (512, 512)),
            ((768, 1024), (384, 512)),
            ((576, 1024), (288, 512)),
            ((1024, 576), (512, 288)),
            ((1536, 1024), (512, 352)),
            ((4096, 512), (512, 64)),
            ((14142, 14142), (512, 512)),
        ] {
            assert_eq!(fit(STARTER, asked.0, asked.1), Some(drawn), "{asked:?}");
        }
        assert_eq!(fit(LARGE, 14142, 14142), Some((2048, 2048)));
        assert_eq!(fit(LARGE, 3000, 2000), Some((2496, 1680)));
        assert_eq!((fit(STARTER, 14142, 200), fit(STARTER, 32, 400)), (None, None), "too narrow");
    }

    #[test]
    fn a_fitted_size_is_within_the_limits_keeps_its_ratio_and_stays_as_it_is() {
        for limits in [STARTER, LARGE, SizeLimits { min: 1, max: SIDE_MAX, area: 16_777_216, step: 1 }] {
            for (width, height) in (1..60).flat_map(|a| (1..60).map(move |b| (a * 239, b * 239))) {
                let size = ImageSize { width, height };
                let Some(fitted) = size.fit(limits) else { continue };
                let sides = [fitted.width, fitted.height];
                assert!(sides.iter().all(|side| (limits.min..=limits.max).contains(side)), "{size:?} {fitted:?}");
                assert!(fitted.area() <= limits.area, "{size:?} {fitted:?}");
                assert_eq!(fitted.fit(limits), Some(fitted));
                // no side is further from the ratio than two steps: one for each that was rounded
                let off = f64::from(fitted.width) * f64::from(height) / f64::from(width) - f64::from(fitted.height);
                let off = off.abs().min((off * f64::from(width) / f64::from(height)).abs());
                assert!(off <= 2.0 * f64::from(limits.step), "{size:?} {fitted:?}");
            }
        }
    }
}
