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

/// What sums are made of: numbers in lanes, float32 or pairs of bfloat16 with the first in the lower half.
///
/// # Safety
/// As for [`Simd`]; where the machine has instructions of its own for these numbers, they were detected too.
#[expect(unsafe_code, reason = "as above")]
pub(crate) trait Multiply<N>: Simd {
    /// A vector of numbers.
    type Numbers: Copy;

    /// The same number everywhere.
    unsafe fn splat_number(number: N) -> Self::Numbers;
    /// Reads a vector.
    unsafe fn load_numbers(from: *const N) -> Self::Numbers;
    /// Adds to each lane of `sums` the product of those of `a` and `b`; of pairs, both products.
    unsafe fn add_product(sums: Self::V, a: Self::Numbers, b: Self::Numbers) -> Self::V;
}

#[expect(unsafe_code, reason = "as above")]
impl<S: Simd> Multiply<f32> for S {
    type Numbers = S::V;

    #[inline(always)]
    unsafe fn splat_number(number: f32) -> Self::Numbers {
        // SAFETY: the caller's.
        unsafe { S::splat(number) }
    }
    #[inline(always)]
    unsafe fn load_numbers(from: *const f32) -> Self::Numbers {
        // SAFETY: the caller's.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn add_product(sums: Self::V, a: Self::Numbers, b: Self::Numbers) -> Self::V {
        // SAFETY: the caller's.
        unsafe { S::fma(a, b, sums) }
    }
}
