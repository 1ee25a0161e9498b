//! Numbers in the types of a GGUF file: the other way of `encoding`.
//!
//! Scales are rounded first, and the numbers are then counted in what the file will really hold. The blocks of Q4_K are fitted
//! by least squares, so that they are nearer than candle's, which also loses groups that hold one number only.

use half::{bf16, f16};
use rayon::prelude::*;

/// How a tensor is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    F32,
    F16,
    BF16,
    Q8_0,
    Q5_0,
    Q4K,
}

/// Groups of a block of Q4_K, and numbers in each.
const GROUPS: usize = 8;
const GROUP: usize = 32;
/// The largest of four bits, and of six.
const FOUR: f32 = 15.0;
const SIX: f32 = 63.0;
/// Steps that are tried for a group, in how many of them lie between its least and its largest number.
const TRIED: [f32; 9] = [13.6, 14.0, 14.3, 14.6, 14.8, 15.0, 15.3, 15.7, 16.2];

impl Written {
    /// The number of the type in a file.
    pub(crate) const fn ggml(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 30,
            Self::Q8_0 => 8,
            Self::Q5_0 => 6,
            Self::Q4K => 12,
        }
    }

    /// How many values stand together, and in how many bytes.
    const fn unit(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q5_0 => (32, 22),
            Self::Q4K => (256, 144),
        }
    }

    /// Whether rows of this length are whole blocks.
    pub(crate) const fn fits(self, columns: usize) -> bool {
        columns.is_multiple_of(self.unit().0)
    }

    /// The bytes of so many numbers in whole blocks.
    pub(crate) const fn takes(self, count: usize) -> usize {
        count / self.unit().0 * self.unit().1
    }

    /// The bytes of numbers in whole blocks; nothing where one of them, or a scale, is not finite or too large for the type.
    pub(crate) fn encode(self, numbers: &[f32]) -> Option<Vec<u8>> {
        let (values, bytes) = self.unit();
        // a number alone is no piece of work
        let each = values * (1 << 12usize.saturating_sub(values.ilog2() as usize));
        let mut out = vec![0; numbers.len() / values * bytes];
        let pieces = out.par_chunks_mut(each / values * bytes).zip(numbers.par_chunks(each));
        let fine = pieces.map(|(out, numbers)| {
            let mut blocks = out.chunks_exact_mut(bytes).zip(numbers.chunks_exact(values));
            blocks.all(|(out, x)| x.iter().all(|x| x.is_finite()) && self.block(x, out))
        });
        fine.reduce(|| true, |one, other| one && other).then_some(out)
    }

    /// One block of finite numbers; whether its scales have room in their type.
    fn block(self, x: &[f32], out: &mut [u8]) -> bool {
        match self {
            Self::F32 => {
                out.copy_from_slice(&x[0].to_le_bytes());
                true
            }
            Self::F16 => half(x[0], out),
            Self::BF16 => {
                let stored = bf16::from_f32(x[0]);
                out.copy_from_slice(&stored.to_le_bytes());
                stored.is_finite()
            }
            Self::Q8_0 => eight(x, out),
            Self::Q5_0 => five(x, out),
            Self::Q4K => four(x, out),
        }
    }
}

/// Writes a float16; whether it has room there.
fn half(number: f32, out: &mut [u8]) -> bool {
    let stored = f16::from_f32(number);
    out.copy_from_slice(&stored.to_le_bytes());
    stored.is_finite()
}

/// What a float16 makes of a number.
fn halved(number: f32) -> f32 {
    f16::from_f32(number).to_f32()
}

/// The float16 nearest to what the largest size is `most` steps of, or the next, where with that it were more of them.
fn scale(largest: f32, most: f32) -> f32 {
    let nearest = f16::from_f32(largest / most);
    let is_short = nearest.to_f32() * (most + 0.5) < largest;
    if is_short { f16::from_bits(nearest.to_bits() + 1).to_f32() } else { nearest.to_f32() }
}

/// How many steps a number is; none, where steps are nothing.
fn counted(number: f32, step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { (number / step).round() }
}

/// 32 values: a scale and eight bits of each.
fn eight(x: &[f32], out: &mut [u8]) -> bool {
    let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
    let d = scale(largest, 127.0);
    for (out, x) in out[2..].iter_mut().zip(x) {
        *out = (counted(*x, d).clamp(-127.0, 127.0) as i8).cast_unsigned();
    }
    half(d, &mut out[..2])
}

/// 32 values: a scale and five bits of each, counted from −16. The number of the largest size is −16 steps, or else 15, which
/// ever is nearer to all of them.
fn five(x: &[f32], out: &mut [u8]) -> bool {
    let largest = x.iter().fold(0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    let count = |x: f32, d: f32| counted(x, d).clamp(-16.0, 15.0);
    let error = |d: f32| x.iter().map(|x| (x - count(*x, d) * d).powi(2)).sum::<f32>();
    let (whole, inside) = (halved(largest / -16.0), scale(largest.abs(), FOUR));
    let d = if error(whole) <= error(inside) { whole } else { inside };
    let (mut fifth, mut nibbles) = (0u32, [0u8; 16]);
    for (i, x) in x.iter().enumerate() {
        let q = (count(*x, d) + 16.0) as u8;
        nibbles[i % 16] |= (q & 15) << (4 * (i / 16));
        fifth |= u32::from(q >> 4) << i;
    }
    out[2..6].copy_from_slice(&fifth.to_le_bytes());
    out[6..].copy_from_slice(&nibbles);
    half(d, &mut out[..2])
}

/// 256 values in 8 groups of 32, each with a step and a floor of six bits.
fn four(x: &[f32], out: &mut [u8]) -> bool {
    let mut fits = [(0f32, 0f32); GROUPS];
    for (fit, x) in fits.iter_mut().zip(x.chunks_exact(GROUP)) {
        *fit = fitted(x);
    }
    let d = scale(fits.iter().fold(0f32, |most, (step, _)| most.max(*step)), SIX);
    let least = scale(fits.iter().fold(0f32, |most, (_, floor)| most.max(*floor)), SIX);
    let (mut six, mut nibbles) = ([0u8; 12], [0u8; 128]);
    for (group, ((step, floor), x)) in fits.iter().zip(x.chunks_exact(GROUP)).enumerate() {
        let (scale, minimum) = (counted(*step, d).min(SIX) as u8, counted(*floor, least).min(SIX) as u8);
        match group {
            0..4 => {
                six[group] |= scale;
                six[group + 4] |= minimum;
            }
            _ => {
                six[group + 4] |= scale & 15 | (minimum & 15) << 4;
                six[group - 4] |= scale >> 4 << 6;
                six[group] |= minimum >> 4 << 6;
            }
        }
        let (step, floor) = (d * f32::from(scale), least * f32::from(minimum));
        for (i, x) in x.iter().enumerate() {
            let q = counted(x + floor, step).clamp(0.0, FOUR) as u8;
            nibbles[group / 2 * GROUP + i] |= q << (4 * (group % 2));
        }
    }
    out[4..16].copy_from_slice(&six);
    out[16..].copy_from_slice(&nibbles);
    half(d, &mut out[..2]) && half(least, &mut out[2..4])
}

/// The step and the floor, neither below zero, with which `step · q − floor` is nearest to a group, q a number of four bits.
fn fitted(x: &[f32]) -> (f32, f32) {
    let (low, high) = x.iter().fold((0f32, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    if high <= low {
        return (0.0, -low);
    }
    let mut best = ((high - low) / FOUR, -low);
    let mut error = f32::INFINITY;
    let (count, sum) = (x.len() as f32, x.iter().sum::<f32>());
    for steps in TRIED {
        let per = steps / (high - low);
        // sums for the straight line through (q, x)
        let (mut q1, mut q2, mut qx) = (0f32, 0f32, 0f32);
        for x in x {
            let q = ((x - low) * per).round().clamp(0.0, FOUR);
            q1 += q;
            q2 += q * q;
            qx += q * x;
        }
        let spread = count * q2 - q1 * q1;
        let mut line = if spread > 0.0 {
            let step = (count * qx - q1 * sum) / spread;
            (step, (step * q1 - sum) / count)
        } else {
            continue;
        };
        if line.1 < 0.0 {
            line = (qx / q2, 0.0);
        }
        let (step, floor) = line;
        if step <= 0.0 {
            continue;
        }
        let off = |x: &f32| (counted(x + floor, step).clamp(0.0, FOUR) * step - floor - x).powi(2);
        let here = x.iter().map(off).sum::<f32>();
        if here < error {
            (best, error) = (line, here);
        }
    }
    best
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{DType, Device, Tensor};

    use super::super::encoding::{Blocks, Encoding};
    use super::*;
    use crate::rng::Generator;

    fn noise(count: usize, spread: f32) -> Vec<f32> {
        Generator::new(11).randn(count).into_iter().map(|x| x * spread).collect()
    }

    fn decoded(kind: Written, x: &[f32]) -> Vec<f32> {
        let bytes = kind.encode(x).unwrap();
        assert_eq!(bytes.len(), kind.takes(x.len()));
        read_as(kind).decode(&bytes)
    }

    fn read_as(kind: Written) -> Encoding {
        let encoding = Encoding::of_ggml(kind.ggml());
        match kind {
            Written::F32 => assert_eq!(encoding, Encoding::Plain(DType::F32)),
            Written::F16 => assert_eq!(encoding, Encoding::Plain(DType::F16)),
            Written::BF16 => assert_eq!(encoding, Encoding::Plain(DType::BF16)),
            Written::Q8_0 => assert_eq!(encoding, Encoding::Blocks(Blocks::Q8_0)),
            Written::Q5_0 => assert_eq!(encoding, Encoding::Blocks(Blocks::Q5_0)),
            Written::Q4K => assert_eq!(encoding, Encoding::Blocks(Blocks::Q4K)),
        }
        assert_eq!(encoding.unit(), Some(kind.unit()));
        encoding
    }

    fn squares(x: &[f32], y: &[f32]) -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum()
    }

    #[test]
    fn every_number_is_within_the_step_of_its_block() {
        for spread in [1e-6, 0.02, 1.0, 3e3] {
            let mut x = noise(1 << 14, spread);
            // a block of large ones, one of zeros, and some of one number
            x[512..768].iter_mut().for_each(|x| *x *= 8.0);
            x[1024..1280].fill(0.0);
            x[2048..2304].fill(spread);
            x[2304..2560].fill(-spread);
            for (kind, part) in [(Written::Q8_0, 254.0), (Written::Q5_0, 15.0)] {
                for (x, y) in x.chunks(32).zip(decoded(kind, &x).chunks(32)) {
                    let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
                    // a scale may be off by half of the smallest float16, as often as it is counted
                    let most = largest / part * 1.01 + 3e-8 * part.min(127.0);
                    x.iter().zip(y).for_each(|(x, y)| assert!((x - y).abs() <= most, "{kind:?} {x} {y} {most}"));
                }
            }
            for (x, y) in x.chunks(256).zip(decoded(Written::Q4K, &x).chunks(256)) {
                let range = |x: &[f32]| {
                    let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
                    high - low
                };
                // steps and floors are whole parts of the block's largest
                let coarse = x.chunks(32).map(range).fold(0f32, f32::max) / 15.0 / 63.0;
                for (x, y) in x.chunks(32).zip(y.chunks(32)) {
                    let most = range(x) / 15.0 * 1.5 + coarse * 15.0 + 64.0 * 6e-8 * 15.0;
                    x.iter().zip(y).for_each(|(x, y)| assert!((x - y).abs() <= most, "{x} {y} {most}"));
                }
            }
        }
    }

    /// By the squares of what they are off.
    #[test]
    fn blocks_are_nearer_than_candles() {
        let mut x = noise(1 << 16, 0.02);
        x.iter_mut().step_by(61).for_each(|x| *x *= 4.0);
        let tensor = Tensor::from_slice(&x, (256, 256), &Device::Cpu).unwrap();
        for (kind, theirs) in
            [(Written::Q8_0, GgmlDType::Q8_0), (Written::Q5_0, GgmlDType::Q5_0), (Written::Q4K, GgmlDType::Q4K)]
        {
            let stored = QTensor::quantize(&tensor, theirs).unwrap();
            let values: Vec<f32> = stored.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let (own, other) = (squares(&x, &decoded(kind, &x)), squares(&x, &values));
            assert!(own <= other, "{kind:?}: {own} is more than {other}");
        }
    }

    #[test]
    fn plain_types_keep_their_numbers() {
        let x = [0.5, -1.25, 0.0, 96.0];
        for kind in [Written::F32, Written::F16, Written::BF16] {
            assert_eq!(decoded(kind, &x), x, "{kind:?}");
        }
    }

    #[test]
    fn what_a_type_has_no_room_for_is_refused() {
        let mut x = vec![0.5; 256];
        for wrong in [f32::NAN, f32::INFINITY, 3e38] {
            x[7] = wrong;
            for kind in [Written::Q8_0, Written::Q5_0, Written::Q4K, Written::F16] {
                assert_eq!(kind.encode(&x), None, "{kind:?} {wrong}");
            }
        }
    }
}
