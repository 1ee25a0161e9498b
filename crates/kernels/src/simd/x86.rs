//! Vectors of x86-64.

use std::arch::x86_64::*;

use super::{Multiply, Simd, Whole};

/// Eight lanes: AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2;

/// The same with AVX-VNNI, for whole numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Vnni;

/// Sixteen lanes: AVX-512.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512;

/// The same with AVX512-VNNI, for whole numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Vnni;

/// Every method is one instruction.
macro_rules! vectors {
    ($name:ident, $vector:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $mul:ident, $sub:ident) => {
        #[expect(unsafe_code, reason = "intrinsics; callers are compiled for their instruction set, as the trait says")]
        impl Simd for $name {
            type V = $vector;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(x: f32) -> Self::V {
                // SAFETY: the trait's contract: the instruction set was detected.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self::V {
                // SAFETY: as above, and the pointer is valid for a vector.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, v: Self::V) {
                // SAFETY: as above, and the pointer is valid for a vector.
                unsafe { $store(to, v) }
            }
            #[inline(always)]
            unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // SAFETY: as for `splat`.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as for `splat`.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as for `splat`.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as for `splat`.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn prefetch(at: *const f32) {
                // SAFETY: a prefetch never faults, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
        }
    };
}

/// What instructions for vectors of eight and sixteen lanes are called.
macro_rules! eight {
    ($name:ident) => {
        vectors!(
            $name,
            __m256,
            8,
            _mm256_set1_ps,
            _mm256_loadu_ps,
            _mm256_storeu_ps,
            _mm256_fmadd_ps,
            _mm256_add_ps,
            _mm256_mul_ps,
            _mm256_sub_ps
        );
    };
}
macro_rules! sixteen {
    ($name:ident) => {
        vectors!(
            $name,
            __m512,
            16,
            _mm512_set1_ps,
            _mm512_loadu_ps,
            _mm512_storeu_ps,
            _mm512_fmadd_ps,
            _mm512_add_ps,
            _mm512_mul_ps,
            _mm512_sub_ps
        );
    };
}

eight!(Avx2);
eight!(Avx2Vnni);
sixteen!(Avx512);
sixteen!(Avx512Vnni);

macro_rules! wholes {
    ($name:ident, $vector:ty, $per:literal, $offset:literal, $splat:ident, $load:ident, $float:ident, $dot:expr) => {
        #[expect(unsafe_code, reason = "intrinsics; callers are compiled for their instruction set, as the trait says")]
        impl Whole for $name {
            type I = $vector;
            const PER: usize = $per;
            const OFFSET: u8 = $offset;

            #[inline(always)]
            unsafe fn splat_lane(lane: u32) -> Self::I {
                // SAFETY: the trait's contract: the instruction set was detected.
                unsafe { $splat(lane.cast_signed()) }
            }
            #[inline(always)]
            unsafe fn load_lanes(from: *const u32) -> Self::I {
                // SAFETY: as above, and the pointer is valid for a vector.
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn dot(sums: Self::I, a: Self::I, b: Self::I) -> Self::I {
                // SAFETY: as for `splat_lane`.
                unsafe { $dot(sums, a, b) }
            }
            #[inline(always)]
            unsafe fn float(sums: Self::I) -> Self::V {
                // SAFETY: as for `splat_lane`.
                unsafe { $float(sums) }
            }
        }
    };
}

wholes!(Avx2, __m256i, 2, 0, _mm256_set1_epi32, _mm256_loadu_si256, _mm256_cvtepi32_ps, |sums, a, b| {
    _mm256_add_epi32(sums, _mm256_madd_epi16(a, b))
});
wholes!(Avx2Vnni, __m256i, 4, 128, _mm256_set1_epi32, _mm256_loadu_si256, _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32);
wholes!(Avx512Vnni, __m512i, 4, 128, _mm512_set1_epi32, _mm512_loadu_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32);

#[expect(unsafe_code, reason = "intrinsics; callers are compiled for their instruction set, as the trait says")]
impl Multiply<u32> for Avx512 {
    type Numbers = __m512bh;

    #[inline(always)]
    unsafe fn splat_number(pair: u32) -> Self::Numbers {
        // SAFETY: the trait's contract: the instruction set was detected. Both types are 512 bits of any value.
        unsafe { std::mem::transmute(_mm512_set1_epi32(pair.cast_signed())) }
    }
    #[inline(always)]
    unsafe fn load_numbers(from: *const u32) -> Self::Numbers {
        // SAFETY: as above, and the pointer is valid for a vector.
        unsafe { std::mem::transmute(_mm512_loadu_si512(from.cast())) }
    }
    #[inline(always)]
    unsafe fn add_product(sums: Self::V, a: Self::Numbers, b: Self::Numbers) -> Self::V {
        // SAFETY: as above; the instruction for bfloat16 was detected too.
        unsafe { _mm512_dpbf16_ps(sums, a, b) }
    }
}
