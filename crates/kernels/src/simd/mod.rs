//! Vectors of float32 behind one name, for kernels whose registers are planned by hand.
//!
//! A kernel is written once over [`Simd`] with `#[inline(always)]`, and instantiated in a function that enables the
//! instruction set: the operations become single instructions there.

mod portable;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

pub(crate) use portable::Portable;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use x86::{Avx2, Avx2Vnni, Avx512, Avx512Vnni};

/// Operations on vectors of [`Simd::LANES`] numbers.
///
/// # Safety
/// Every method must only be called where the instruction set of the implementing type was detected; pointers must be
/// valid for a whole vector (no alignment is asked for).
#[expect(unsafe_code, reason = "stands for intrinsics, which are unsafe outside of their instruction set")]
pub(crate) trait Simd: Copy + 'static {
    /// A vector.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;

    /// The same number in every lane.
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads a vector.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes a vector.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// a · b + c, rounded once where the machine can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a + b.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// a · b.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// Asks for the cache line at an address that need not exist.
    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}
}

/// Small whole numbers in lanes of 32 bits, several in each, whose products are summed without rounding.
///
/// # Safety
/// As for [`Simd`].
#[expect(unsafe_code, reason = "as above")]
pub(crate) trait Whole: Simd {
    /// A vector of lanes.
    type I: Copy;
    /// Numbers in a lane: four of eight bits, or two of sixteen.
    const PER: usize;
    /// What is added to the numbers of the left side, so that they are not negative where instructions ask for that.
    const OFFSET: u8;

    /// The same lane everywhere.
    unsafe fn splat_lane(lane: u32) -> Self::I;
    /// Reads a vector.
    unsafe fn load_lanes(from: *const u32) -> Self::I;
    /// Adds to each lane of `sums` the products of the numbers in the lanes of `a`, the left side, and `b`.
    unsafe fn dot(sums: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Lanes that are whole numbers of 32 bits, as float32.
    unsafe fn float(sums: Self::I) -> Self::V;
}

/// Pairs of bfloat16 in lanes of 32 bits, the first in the lower half.
///
/// # Safety
/// As for [`Simd`]; where the machine multiplies bfloat16, that was detected too.
#[expect(unsafe_code, reason = "as above")]
pub(crate) trait Halves: Simd {
    /// A vector of pairs.
    type H: Copy;

    /// The same pair everywhere.
    unsafe fn splat_pair(pair: u32) -> Self::H;
    /// Reads a vector.
    unsafe fn load_pairs(from: *const u32) -> Self::H;
    /// Adds to each lane of `sums` the products of the numbers in the lanes of `a` and `b`.
    unsafe fn dot_pairs(sums: Self::V, a: Self::H, b: Self::H) -> Self::V;
}
