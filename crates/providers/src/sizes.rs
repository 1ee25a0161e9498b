//! From the size that a caller wants to one that a maker draws.

/// Columns and rows.
pub(crate) type Size = (u32, u32);

/// A size on BFL's grid: what is asked for, and what of it the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnGrid {
    /// Multiples of 32 between 256 and 1440.
    pub(crate) asked: Size,
    /// The caller's size, scaled into those limits.
    pub(crate) target: Size,
}

const LEAST: u32 = 256;
const MOST: u32 = 1440;
const STEP: u32 = 32;

/// Scales into BFL's limits and rounds up to its grid.
pub(crate) fn grid32((width, height): Size) -> OnGrid {
    let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
    let mut scale = 1.0;
    if long > f64::from(MOST) {
        scale = f64::from(MOST) / long;
    }
    if short * scale < f64::from(LEAST) {
        scale = f64::from(LEAST) / short;
    }
    let target = |side: u32| (f64::from(side) * scale).round().clamp(LEAST.into(), MOST.into()) as u32;
    let target = (target(width), target(height));
    let asked = |side: u32| side.div_ceil(STEP).saturating_mul(STEP).min(MOST);
    OnGrid { asked: (asked(target.0), asked(target.1)), target }
}

/// The one whose aspect is nearest; of equals the one of the nearest area, then the narrower.
pub(crate) fn nearest((width, height): Size, sizes: &[Size]) -> Size {
    let aspect = |(w, h): Size| (f64::from(w) / f64::from(h)).ln();
    let area = |(w, h): Size| i64::from(w) * i64::from(h);
    let wanted = (width.max(1), height.max(1));
    let rank = |size: &Size| {
        let apart = ((aspect(*size) - aspect(wanted)).abs() * 1e6).round() as i64;
        (apart, (area(*size) - area(wanted)).abs(), size.0)
    };
    sizes.iter().copied().min_by_key(rank).unwrap_or(wanted)
}

/// `1024x768`.
pub(crate) fn written((width, height): Size) -> String {
    format!("{width}x{height}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_the_grid() {
        let check = |size, asked, target| assert_eq!(grid32(size), OnGrid { asked, target }, "{size:?}");
        check((1280, 720), (1280, 736), (1280, 720));
        check((1920, 1080), (1440, 832), (1440, 810));
        check((2048, 2048), (1440, 1440), (1440, 1440));
        check((1000, 1000), (1024, 1024), (1000, 1000));
        check((100, 100), (256, 256), (256, 256));
        check((5000, 500), (1440, 256), (1440, 256));
        for (_, width, height) in scumble_api::PRESETS {
            check((*width, *height), (*width, *height), (*width, *height));
        }
        for extreme in [(1, 1), (1, 14142), (14142, 14142), (u32::MAX, 1)] {
            let OnGrid { asked: (w, h), .. } = grid32(extreme);
            assert!([w, h].iter().all(|side| (LEAST..=MOST).contains(side) && side % STEP == 0), "{extreme:?}");
        }
    }
}
