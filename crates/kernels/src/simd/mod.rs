//! Vectors of float32 behind one name, for kernels whose registers are planned by hand.
//!
//! A kernel is written once over [`Simd`] with `#[inline(always)]`, and instantiated in a function that enables the
//! instruction set: the operations become single instructions there.

mod portable;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

pub(crate) use portable::Portable;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use x86::{Avx2, Avx512};

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
    /// a − b.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// Asks for the cache line at an address that need not exist.
    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}
}
