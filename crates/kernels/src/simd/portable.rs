//! Vectors in ordinary Rust: the compiler makes of them the registers that there are.

use super::{Multiply, Simd, Whole};

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
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }
}

#[expect(unsafe_code, reason = "reads vectors by pointer, as the trait says")]
impl<const LANES: usize> Whole for Portable<LANES> {
    type I = [u32; LANES];
    const PER: usize = 2;
    const OFFSET: u8 = 0;

    #[inline(always)]
    unsafe fn splat_lane(lane: u32) -> Self::I {
        [lane; LANES]
    }
    #[inline(always)]
    unsafe fn load_lanes(from: *const u32) -> Self::I {
        // SAFETY: the caller's pointer is valid for a vector.
        unsafe { from.cast::<Self::I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::I, a: Self::I, b: Self::I) -> Self::I {
        let low = |lane: u32| i32::from(lane as u16 as i16);
        let high = |lane: u32| lane as i32 >> 16;
        std::array::from_fn(|i| (sums[i] as i32 + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i])) as u32)
    }
    #[inline(always)]
    unsafe fn float(sums: Self::I) -> Self::V {
        each(|i| sums[i] as i32 as f32)
    }
}

#[expect(unsafe_code, reason = "reads vectors by pointer, as the trait says")]
impl<const LANES: usize> Multiply<u32> for Portable<LANES> {
    type Numbers = [u32; LANES];

    #[inline(always)]
    unsafe fn splat_number(pair: u32) -> Self::Numbers {
        [pair; LANES]
    }
    #[inline(always)]
    unsafe fn load_numbers(from: *const u32) -> Self::Numbers {
        // SAFETY: the caller's pointer is valid for a vector.
        unsafe { from.cast::<Self::Numbers>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn add_product(sums: Self::V, a: Self::Numbers, b: Self::Numbers) -> Self::V {
        let low = |pair: u32| f32::from_bits(pair << 16);
        let high = |pair: u32| f32::from_bits(pair & 0xffff_0000);
        each(|i| sums[i] + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]))
    }
}
