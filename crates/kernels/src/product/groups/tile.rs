//! The innermost loop: a tile of sums of whole numbers in registers, scaled after each group.

use super::GROUP;
use crate::level::{Level, level};
use crate::simd::{Portable, Whole};

/// Numbers of x that are worked off together: 192 KiB of them.
const TOGETHER: usize = 192 << 10;

/// What a panel consists of, for both sides.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    /// Numbers, several in a lane.
    pub(super) lanes: &'a [u32],
    /// Two for each row and group: of x the scale and the scaled sum, of W scale and floor.
    pub(super) scales: &'a [f32],
    /// What the sums of each row and group start at, so that an offset of x goes away: of W only.
    pub(super) starts: &'a [u32],
}

/// Pointers into panels.
#[derive(Clone, Copy)]
pub(super) struct At {
    lanes: *const u32,
    scales: *const f32,
    starts: *const u32,
}

impl Operand<'_> {
    fn at(&self) -> At {
        At { lanes: self.lanes.as_ptr(), scales: self.scales.as_ptr(), starts: self.starts.as_ptr() }
    }

    /// The panel of a number, of `rows` rows.
    fn panel(&self, panel: usize, rows: usize, groups: usize, per: usize) -> Self {
        let (lanes, scales, starts) = (rows * groups * GROUP / per, rows * groups * 2, rows * groups);
        let starts = if self.starts.is_empty() { self.starts } else { &self.starts[panel * starts..][..starts] };
        Self { lanes: &self.lanes[panel * lanes..][..lanes], scales: &self.scales[panel * scales..][..scales], starts }
    }
}

/// Multiplies so many groups of a panel of x with those of a panel of W, and adds the results to the tile at `sums`, whose
/// rows are `stride` apart.
type Kernel = unsafe fn(groups: usize, x: At, w: At, sums: *mut f32, stride: usize);

/// The tile of an instruction set.
pub(super) struct Tile {
    /// Rows of x.
    pub(super) rows: usize,
    /// Rows of W.
    pub(super) columns: usize,
    /// Numbers in a lane.
    pub(super) per: usize,
    /// What is added to the numbers of x.
    pub(super) offset: u8,
    kernel: Kernel,
}

impl Tile {
    const fn new<S: Whole, const ROWS: usize>(kernel: Kernel) -> Self {
        Self { rows: ROWS, columns: 2 * S::LANES, per: S::PER, offset: S::OFFSET, kernel }
    }

    /// That of the level in use.
    pub(super) fn of_level() -> &'static Self {
        Self::of_machine(level())[0]
    }

    const PORTABLE: Self = Self::new::<Portable<8>, 4>(portable);

    /// Those that the machine has, up to a level, the best first.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    pub(super) fn of_machine(limit: Level) -> &'static [&'static Self] {
        use crate::simd::{Avx2, Avx2Vnni, Avx512Vnni};
        const PORTABLE: Tile = Tile::PORTABLE;
        const AVX2: Tile = Tile::new::<Avx2, 6>(avx2);
        const AVX2_VNNI: Tile = Tile::new::<Avx2Vnni, 6>(avx2_vnni);
        const AVX512_VNNI: Tile = Tile::new::<Avx512Vnni, 12>(avx512_vnni);
        let avx2_vnni = is_x86_feature_detected!("avxvnni");
        match limit {
            Level::Avx512 if is_x86_feature_detected!("avx512vnni") => match avx2_vnni {
                true => &[&AVX512_VNNI, &AVX2_VNNI, &AVX2, &PORTABLE],
                false => &[&AVX512_VNNI, &AVX2, &PORTABLE],
            },
            Level::Avx512 | Level::Avx2 if avx2_vnni => &[&AVX2_VNNI, &AVX2, &PORTABLE],
            Level::Avx512 | Level::Avx2 => &[&AVX2, &PORTABLE],
            Level::Portable => &[&PORTABLE],
        }
    }

    /// Those that the machine has.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub(super) fn of_machine(_limit: Level) -> &'static [&'static Self] {
        &[&Self::PORTABLE]
    }

    /// Multiplies all panels of `x` with all panels of `w`; `sums` is `[rows of x, rows of W]` in whole tiles.
    pub(super) fn multiply(&self, x: &Operand<'_>, w: &Operand<'_>, groups: usize, sums: &mut [f32]) {
        let rows = |operand: &Operand<'_>| operand.scales.len() / groups / 2;
        let (tall, stride) = (rows(x), rows(w));
        assert!(tall.is_multiple_of(self.rows) && stride.is_multiple_of(self.columns));
        assert!(sums.len() >= tall * stride && w.starts.len() == stride * groups);
        let panels = tall / self.rows;
        // some rows of x stay in the second cache while the panels of W pass through the first
        let together = (TOGETHER / (self.rows * groups * GROUP * 4 / self.per)).max(1);
        for block in (0..panels).step_by(together) {
            for j in 0..stride / self.columns {
                let w = w.panel(j, self.columns, groups, self.per).at();
                for i in block..panels.min(block + together) {
                    let x = x.panel(i, self.rows, groups, self.per).at();
                    let sums = &mut sums[i * self.rows * stride + j * self.columns..];
                    debug_assert!(sums.len() >= (self.rows - 1) * stride + self.columns);
                    #[expect(
                        unsafe_code,
                        reason = "the kernel of the instruction set that was detected, over pointers"
                    )]
                    // SAFETY: `of_machine` gives kernels that the machine has; `panel` cut whole panels, and the tile lies
                    // in `sums`, as asserted above.
                    unsafe {
                        (self.kernel)(groups, x, w, sums.as_mut_ptr(), stride);
                    }
                }
            }
        }
    }
}

/// # Safety
/// The pointers are valid for what [`Kernel`] says.
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn portable(groups: usize, x: At, w: At, sums: *mut f32, stride: usize) {
    // SAFETY: the caller's.
    unsafe { sum::<Portable<8>, 4>(groups, x, w, sums, stride) }
}

/// # Safety
/// The machine has AVX2 and FMA; the pointers are valid for what [`Kernel`] says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn avx2(groups: usize, x: At, w: At, sums: *mut f32, stride: usize) {
    // SAFETY: the caller's.
    unsafe { sum::<crate::simd::Avx2, 6>(groups, x, w, sums, stride) }
}

/// # Safety
/// The machine has AVX2, FMA and AVX-VNNI; the pointers are valid for what [`Kernel`] says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,fma,avxvnni")]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn avx2_vnni(groups: usize, x: At, w: At, sums: *mut f32, stride: usize) {
    // SAFETY: the caller's.
    unsafe { sum::<crate::simd::Avx2Vnni, 6>(groups, x, w, sums, stride) }
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ, VL and VNNI; the pointers are valid for what [`Kernel`] says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn avx512_vnni(groups: usize, x: At, w: At, sums: *mut f32, stride: usize) {
    // SAFETY: the caller's.
    unsafe { sum::<crate::simd::Avx512Vnni, 12>(groups, x, w, sums, stride) }
}

/// A tile of `ROWS` rows and two vectors. Sums of whole numbers are in registers for a group, results in the first cache.
///
/// # Safety
/// The instruction set of `S` is there; the pointers are valid for what [`Kernel`] says.
#[inline(always)]
#[expect(unsafe_code, reason = "vectors by pointer")]
unsafe fn sum<S: Whole, const ROWS: usize>(groups: usize, mut x: At, mut w: At, sums: *mut f32, stride: usize) {
    // SAFETY: the caller's; every pointer below stays inside of the panels and of the tile.
    unsafe {
        let columns = 2 * S::LANES;
        for _ in 0..groups {
            let mut lanes = [[S::load_lanes(w.starts), S::load_lanes(w.starts.add(S::LANES))]; ROWS];
            for _ in 0..GROUP / S::PER {
                let (first, second) = (S::load_lanes(w.lanes), S::load_lanes(w.lanes.add(S::LANES)));
                for (row, lanes) in lanes.iter_mut().enumerate() {
                    let numbers = S::splat_lane(*x.lanes.add(row));
                    lanes[0] = S::dot(lanes[0], numbers, first);
                    lanes[1] = S::dot(lanes[1], numbers, second);
                }
                x.lanes = x.lanes.add(ROWS);
                w.lanes = w.lanes.add(columns);
            }
            for half in 0..2 {
                let scale = S::load(w.scales.add(half * S::LANES));
                let floor = S::load(w.scales.add(columns + half * S::LANES));
                for (row, lanes) in lanes.iter().enumerate() {
                    let at = sums.add(row * stride + half * S::LANES);
                    let scaled = S::mul(S::float(lanes[half]), scale);
                    let sum = S::fma(scaled, S::splat(*x.scales.add(row)), S::load(at));
                    S::store(at, S::fma(floor, S::splat(*x.scales.add(ROWS + row)), sum));
                }
            }
            x.scales = x.scales.add(2 * ROWS);
            w.scales = w.scales.add(2 * columns);
            w.starts = w.starts.add(columns);
        }
    }
}
