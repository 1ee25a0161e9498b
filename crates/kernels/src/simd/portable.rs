//! Vectors in ordinary Rust: the compiler makes of them the registers that there are.

use super::Simd;

/// What every machine has, for vectors of so many lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable<const LANES: usize = 8>;

#[inline(always)]
fn each<const LANES: usize>(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

#[expect(unsafe_code, reason = "reads and writes vectors by pointer, as the trait says")]
impl<const LANES: usize> Simd for Portable<LANES> {
    type V = [f32; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller's pointer is valid for a vector.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller's pointer is valid for a vector.
        unsafe { to.cast::<Self::V>().write_unaligned(v) };
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|i| if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }
}
