//! Small floats to float32, and float32 to bfloat16.
//!
//! Numbers below the least normal one of their type are made without any of float32's own kind, which processors are slow at:
//! they are given an exponent, from which it is then subtracted.

use crate::multiversion::multiversion;

/// The bits of 2ⁿ.
const fn power(n: i32) -> u32 {
    ((n + 127) as u32) << 23
}

multiversion! {
    /// float32, the low byte first: as many as both have.
    pub fn from_float32(bytes: &[[u8; 4]], to: &mut [f32]) {
        for (to, bytes) in to.iter_mut().zip(bytes) {
            *to = f32::from_le_bytes(*bytes);
        }
    }
}

multiversion! {
    /// IEEE 754's binary16 (float16), the low byte first, to float32.
    pub fn from_float16(bytes: &[[u8; 2]], to: &mut [f32]) {
        for (to, bytes) in to.iter_mut().zip(bytes) {
            *to = float16(u16::from_le_bytes(*bytes));
        }
    }
}

multiversion! {
    /// bfloat16, the low byte first, to float32.
    pub fn from_bfloat16(bytes: &[[u8; 2]], to: &mut [f32]) {
        for (to, bytes) in to.iter_mut().zip(bytes) {
            *to = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

multiversion! {
    /// Eight bits with four of exponent and no infinities (e4m3fn; Micikevicius et al., 2022) to float32.
    pub fn from_e4m3(bytes: &[u8], to: &mut [f32]) {
        for (to, byte) in to.iter_mut().zip(bytes) {
            let size = u32::from(byte & 0x7f) << 20;
            let bits = size + power(-7);
            let small = f32::from_bits(bits + (1 << 23)) - f32::from_bits(power(-6));
            let value = if size < 1 << 23 { small } else { f32::from_bits(bits) };
            let value = if byte & 0x7f == 0x7f { f32::NAN } else { value };
            *to = f32::from_bits(value.to_bits() | u32::from(byte & 0x80) << 24);
        }
    }
}

multiversion! {
    /// Eight bits with five of exponent, the upper half of a float16 (e5m2), to float32.
    pub fn from_e5m2(bytes: &[u8], to: &mut [f32]) {
        for (to, byte) in to.iter_mut().zip(bytes) {
            *to = float16(u16::from(*byte) << 8);
        }
    }
}

multiversion! {
    /// float32 to the nearest bfloat16, the even one of two; both with the low byte first, as many as both have. Whether all that
    /// is finite stayed so.
    pub fn to_bfloat16(bytes: &[[u8; 4]], to: &mut [[u8; 2]]) -> bool {
        let mut overflows = 0;
        for (to, bytes) in to.iter_mut().zip(bytes) {
            let bits = u32::from_le_bytes(*bytes);
            let half = nearest_bfloat16(bits);
            *to = (half as u16).to_le_bytes();
            overflows |= u32::from(half & 0x7fff == 0x7f80 && bits & 0x7fff_ffff != 0x7f80_0000);
        }
        overflows == 0
    }
}

/// The nearest bfloat16 to a float32, by their bits; the even one of two.
#[inline(always)]
pub(crate) fn nearest_bfloat16(bits: u32) -> u32 {
    // what is not a number stays so, whatever its last bits
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    if is_nan { bits >> 16 | 0x40 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

#[inline(always)]
fn float16(half: u16) -> f32 {
    let size = u32::from(half & 0x7fff) << 13;
    let bits = size + power(-15);
    let small = f32::from_bits(bits + (1 << 23)) - f32::from_bits(power(-14));
    let value = if size < 1 << 23 { small.to_bits() } else { bits };
    // infinity and what is not a number have float32's largest exponent too
    let value = if size >= 0x1f << 23 { size | 0xff << 23 } else { value };
    f32::from_bits(value | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sign, exponent and mantissa, by the definition.
    fn defined(bits: u32, exponent: u32, mantissa: u32) -> f64 {
        let bias = (1 << (exponent - 1)) - 1;
        let sign = if bits >> (exponent + mantissa) == 1 { -1.0 } else { 1.0 };
        let power = (bits >> mantissa & ((1 << exponent) - 1)) as i32;
        let part = f64::from(bits & ((1 << mantissa) - 1)) / f64::from(1 << mantissa);
        sign * if power == 0 { part * 2f64.powi(1 - bias) } else { (1.0 + part) * 2f64.powi(power - bias) }
    }

    #[test]
    fn numbers_become_the_nearest_bfloat16_and_an_overflow_is_told() {
        let exact: Vec<[u8; 4]> = (0..=u16::MAX).map(|bits| (u32::from(bits) << 16).to_le_bytes()).collect();
        let mut halves = vec![[0; 2]; exact.len()];
        assert!(to_bfloat16(&exact, &mut halves), "infinities are no overflow");
        for (bits, got) in (0..=u16::MAX).zip(&halves) {
            let (expected, got) = (f32::from_bits(u32::from(bits) << 16), u16::from_le_bytes(*got));
            assert!(got == bits || expected.is_nan() && got == bits | 0x40, "{bits:x}");
        }
        // between 1 and the next are 128 steps: below the middle, in it, and above it
        for (x, expected) in [(1.003_9, 1.0), (1.003_906_3, 1.0), (1.011_718_8, 1.015_625), (1.004, 1.007_812_5)] {
            let mut half = [[0; 2]];
            assert!(to_bfloat16(&[f32::to_le_bytes(x)], &mut half));
            assert_eq!(f32::from_bits(u32::from(u16::from_le_bytes(half[0])) << 16), expected);
        }
        for place in [0, 1, 40, 99] {
            let mut many = [1f32.to_le_bytes(); 100];
            many[place] = f32::MIN.to_le_bytes();
            assert!(!to_bfloat16(&many, &mut [[0; 2]; 100]), "{place}");
        }
    }

    #[test]
    fn every_number_is_what_its_definition_says() {
        let halves: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
        let mut numbers = vec![0.0; halves.len()];
        from_float16(&halves, &mut numbers);
        for (bits, got) in (0u32..).zip(&numbers) {
            match (bits >> 10 & 0x1f, bits & 0x3ff) {
                (0x1f, 0) => assert!(got.is_infinite() && got.is_sign_negative() == (bits >> 15 == 1), "{bits:x}"),
                (0x1f, _) => assert!(got.is_nan(), "{bits:x}"),
                _ => assert_eq!(f64::from(*got), defined(bits, 5, 10), "{bits:x}"),
            }
            assert_eq!(got.is_sign_negative(), bits >> 15 == 1, "{bits:x}");
        }
        from_bfloat16(&halves, &mut numbers);
        assert!((0u32..).zip(&numbers).all(|(bits, got)| got.to_bits() == bits << 16));
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let mut numbers = vec![0.0; 256];
        from_e4m3(&bytes, &mut numbers);
        for (bits, got) in (0u32..).zip(&numbers) {
            let is_number = bits & 0x7f != 0x7f;
            assert!(
                is_number && f64::from(*got) == defined(bits, 4, 3) || !is_number && got.is_nan(),
                "{bits:x}: {got}"
            );
        }
        from_e5m2(&bytes, &mut numbers);
        for (bits, got) in (0u32..).zip(&numbers).filter(|(bits, _)| bits & 0x7c != 0x7c) {
            assert_eq!(f64::from(*got), defined(bits, 5, 2), "{bits:x}");
        }
        let wide = [1.5f32, -0.0, f32::INFINITY, 1e-45, 3e38];
        from_float32(&wide.map(f32::to_le_bytes), &mut numbers[..5]);
        assert_eq!(numbers[..5], wide);
        from_e5m2(&bytes, &mut numbers);
        assert!(numbers[0x7c].is_infinite() && numbers[0x7d].is_nan());
    }
}
