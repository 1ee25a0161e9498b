//! The innermost loop: a tile of sums in registers.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::level::Level;
use crate::level::level;
use crate::simd::{Multiply, Portable};

/// Numbers of x that are worked off together: 192 KiB.
const TOGETHER: usize = 48 << 10;

/// Multiplies `depth` numbers of the rows of a panel of x, `[depth, rows]`, with those of a panel of W, `[depth, columns]`, and
/// adds the sums to the tile at `sums`, whose rows are `stride` apart, or sets them.
pub(crate) type Kernel<N> = unsafe fn(depth: usize, x: *const N, w: *const N, sums: *mut f32, stride: usize, add: bool);

/// The tile of an instruction set, over float32 or over pairs of bfloat16.
pub(crate) struct Tile<N = f32> {
    /// Rows of x.
    pub(crate) rows: usize,
    /// Rows of W.
    pub(crate) columns: usize,
    pub(crate) kernel: Kernel<N>,
}

/// Whether the level in use and the machine multiply bfloat16.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) fn has_halves() -> bool {
    level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
}
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(super) fn has_halves() -> bool {
    false
}

/// Whether AMD made this processor.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) fn is_amd() -> bool {
    let name = std::arch::x86_64::__cpuid(0);
    [name.ebx, name.edx, name.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(super) fn is_amd() -> bool {
    false
}

impl Tile {
    /// That of the level in use.
    pub(crate) fn of_level() -> &'static Self {
        match level() {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Level::Avx512 => &Self { rows: 12, columns: 32, kernel: avx512 },
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Level::Avx2 => &Self { rows: 6, columns: 16, kernel: avx2 },
            _ => &Self { rows: 4, columns: 16, kernel: portable },
        }
    }

    /// A tile of the shape of AVX-512's on any machine, for tests of what depends on the shape.
    #[cfg(test)]
    pub(crate) fn wide() -> &'static Self {
        &Self { rows: 12, columns: 32, kernel: portable_wide }
    }
}

impl Tile<u32> {
    /// That of the machine.
    pub(crate) fn of_halves() -> &'static Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if has_halves() {
            return &Self { rows: 12, columns: 32, kernel: avx512_halves };
        }
        Self::portable_halves()
    }

    pub(crate) fn portable_halves() -> &'static Self {
        &Self { rows: 4, columns: 16, kernel: portable_halves }
    }
}

impl<N> Tile<N> {
    /// Multiplies all panels of `x` with all panels of `w`; `sums` is `[rows of x, rows of W]` in whole tiles.
    pub(crate) fn multiply(&self, x: &[N], w: &[N], depth: usize, add: bool, sums: &mut [f32]) {
        let (high, wide) = (self.rows * depth, self.columns * depth);
        let stride = w.len() / depth;
        assert!(x.len().is_multiple_of(high) && w.len().is_multiple_of(wide));
        assert!(sums.len() >= x.len() / depth * stride);
        // some rows of x stay in the second cache while the panels of W pass through the first
        let together = (TOGETHER / high).max(1);
        for (block, x) in x.chunks(high * together).enumerate() {
            for (j, w) in w.chunks_exact(wide).enumerate() {
                for (i, x) in x.chunks_exact(high).enumerate() {
                    let row = (block * together + i) * self.rows;
                    let sums = &mut sums[row * stride + j * self.columns..];
                    debug_assert!(sums.len() >= (self.rows - 1) * stride + self.columns);
                    #[expect(
                        unsafe_code,
                        reason = "the kernel of the instruction set that was detected, over pointers"
                    )]
                    // SAFETY: `of_level` took the kernel of a level that the machine has; the panels are whole, and the
                    // tile lies in `sums`, as asserted above.
                    unsafe {
                        (self.kernel)(depth, x.as_ptr(), w.as_ptr(), sums.as_mut_ptr(), stride, add);
                    }
                }
            }
        }
    }
}

/// # Safety
/// The pointers are valid for what [`Kernel`] says.
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn portable(depth: usize, x: *const f32, w: *const f32, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's.
    unsafe { sum::<Portable<8>, f32, 4>(depth, x, w, sums, stride, add) }
}

/// # Safety
/// The pointers are valid for what [`Kernel`] says.
#[cfg(test)]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn portable_wide(depth: usize, x: *const f32, w: *const f32, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's.
    unsafe { sum::<Portable<16>, f32, 12>(depth, x, w, sums, stride, add) }
}

/// # Safety
/// The machine has AVX2 and FMA; the pointers are valid for what [`Kernel`] says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn avx2(depth: usize, x: *const f32, w: *const f32, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's.
    unsafe { sum::<crate::simd::Avx2, f32, 6>(depth, x, w, sums, stride, add) }
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL; the pointers are valid for what [`Kernel`] says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn avx512(depth: usize, x: *const f32, w: *const f32, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's.
    unsafe { sum::<crate::simd::Avx512, f32, 12>(depth, x, w, sums, stride, add) }
}

/// # Safety
/// The pointers are valid for what [`Kernel`] says.
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn portable_halves(depth: usize, x: *const u32, w: *const u32, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's.
    unsafe { sum::<Portable<8>, u32, 4>(depth, x, w, sums, stride, add) }
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ, VL and BF16; the pointers are valid for what [`Kernel`] says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
#[expect(unsafe_code, reason = "instantiates the kernel over pointers")]
unsafe fn avx512_halves(depth: usize, x: *const u32, w: *const u32, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's.
    unsafe { sum::<crate::simd::Avx512, u32, 12>(depth, x, w, sums, stride, add) }
}

/// A tile of `ROWS` rows and two vectors.
///
/// # Safety
/// The instruction set of `S` is there, and that for the numbers; the pointers are valid for what [`Kernel`] says.
#[inline(always)]
#[expect(unsafe_code, reason = "vectors by pointer")]
unsafe fn sum<S: Multiply<N>, N: Copy, const ROWS: usize>(
    depth: usize,
    mut x: *const N,
    mut w: *const N,
    sums: *mut f32,
    stride: usize,
    add: bool,
) {
    // SAFETY: the caller's; every pointer below stays inside of the panels and of the tile.
    unsafe {
        let mut registers = [[S::splat(0.0); 2]; ROWS];
        for _ in 0..depth {
            let (first, second) = (S::load_numbers(w), S::load_numbers(w.add(S::LANES)));
            S::prefetch(w.wrapping_add(16 * S::LANES).cast());
            for (row, sums) in registers.iter_mut().enumerate() {
                let number = S::splat_number(*x.add(row));
                sums[0] = S::add_product(sums[0], number, first);
                sums[1] = S::add_product(sums[1], number, second);
            }
            x = x.add(ROWS);
            w = w.add(2 * S::LANES);
        }
        for (row, values) in registers.iter().enumerate() {
            for (half, value) in values.iter().enumerate() {
                let at = sums.add(row * stride + half * S::LANES);
                S::store(at, if add { S::add(S::load(at), *value) } else { *value });
            }
        }
    }
}
