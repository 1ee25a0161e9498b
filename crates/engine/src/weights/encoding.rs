//! How the numbers of a tensor are stored, and what they are as float32.
//!
//! The layouts of blocks are those of ggml; every value is what its formula gives in float32, without another rounding on the
//! way.

use candle_core::DType;
use half::f16;
use rayon::prelude::*;
use scumble_kernels::{GROUP, Group, from_bfloat16, from_e4m3, from_e5m2, from_float16, from_float32};

/// How the numbers of a tensor are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// float32, bfloat16 or float16.
    Plain(DType),
    /// Eight bits, four of them exponent and three mantissa: no infinities.
    F8E4M3,
    /// Eight bits, the upper half of a float16.
    F8E5M2,
    /// Blocks of small whole numbers that share scales.
    Blocks(Blocks),
    /// What this engine does not read, by its name.
    Unknown(String),
}

/// A kind of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// What can be read, for messages.
pub(super) const READ: &str = "float32, bfloat16, float16, fp8 (e4m3fn, e5m2), and GGUF's Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, \
                               Q4_1, Q4_0";

impl Encoding {
    /// Of a safetensors file.
    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F32 => Self::Plain(DType::F32),
            safetensors::Dtype::F16 => Self::Plain(DType::F16),
            safetensors::Dtype::BF16 => Self::Plain(DType::BF16),
            safetensors::Dtype::F8_E4M3 => Self::F8E4M3,
            safetensors::Dtype::F8_E5M2 => Self::F8E5M2,
            other => Self::Unknown(format!("{other:?}")),
        }
    }

    /// Of a GGUF file, by the number of its type.
    pub(super) fn of_ggml(number: u32) -> Self {
        let name = match number {
            0 => return Self::Plain(DType::F32),
            1 => return Self::Plain(DType::F16),
            30 => return Self::Plain(DType::BF16),
            2 => return Self::Blocks(Blocks::Q4_0),
            3 => return Self::Blocks(Blocks::Q4_1),
            6 => return Self::Blocks(Blocks::Q5_0),
            7 => return Self::Blocks(Blocks::Q5_1),
            8 => return Self::Blocks(Blocks::Q8_0),
            12 => return Self::Blocks(Blocks::Q4K),
            13 => return Self::Blocks(Blocks::Q5K),
            14 => return Self::Blocks(Blocks::Q6K),
            10 => "Q2_K",
            11 => "Q3_K",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            other => return Self::Unknown(format!("number {other}")),
        };
        Self::Unknown(name.to_owned())
    }

    /// How many values stand together, and in how many bytes; nothing where that is not known.
    pub(super) fn unit(&self) -> Option<(usize, usize)> {
        match self {
            Self::Plain(dtype) => Some((1, dtype.size_in_bytes())),
            Self::F8E4M3 | Self::F8E5M2 => Some((1, 1)),
            Self::Blocks(blocks) => Some(blocks.unit()),
            Self::Unknown(_) => None,
        }
    }

    /// Whether it is one of the two kinds of eight bits.
    pub(super) fn is_f8(&self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
    }

    /// The values of whole units, in float32; bytes beyond the last whole one are not looked at.
    pub(super) fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        let Some((values, size)) = self.unit() else { return Vec::new() };
        let mut out = vec![0.0; bytes.len() / size * values];
        // pieces of whole units of every encoding
        let piece = 1 << 14;
        out.par_chunks_mut(piece).zip(bytes.par_chunks(piece / values * size)).for_each(|(out, bytes)| {
            self.decode_into(bytes, out);
        });
        out
    }

    /// The same on this thread, as many values as there is room for.
    pub(super) fn decode_into(&self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::Plain(DType::BF16) => from_bfloat16(bytes.as_chunks().0, out),
            Self::Plain(DType::F16) => from_float16(bytes.as_chunks().0, out),
            Self::Plain(_) => from_float32(bytes.as_chunks().0, out),
            Self::F8E4M3 => from_e4m3(bytes, out),
            Self::F8E5M2 => from_e5m2(bytes, out),
            Self::Blocks(blocks) => blocks.decode(bytes, out),
            Self::Unknown(_) => {}
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(DType::F32) => "float32",
            Self::Plain(DType::BF16) => "bfloat16",
            Self::Plain(_) => "float16",
            Self::F8E4M3 => "float8_e4m3fn",
            Self::F8E5M2 => "float8_e5m2",
            Self::Blocks(blocks) => blocks.name(),
            Self::Unknown(name) => name,
        })
    }
}

impl Blocks {
    /// Values and bytes of one block.
    const fn unit(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let (values, size) = self.unit();
        let blocks = out.chunks_exact_mut(values).zip(bytes.chunks_exact(size));
        blocks.for_each(|(out, block)| match self {
            Self::Q4_0 => small(out, half_at(block, 0), Floor::Middle(8), &[], &block[2..]),
            Self::Q4_1 => small(out, half_at(block, 0), Floor::Stored(half_at(block, 2)), &[], &block[4..]),
            Self::Q5_0 => small(out, half_at(block, 0), Floor::Middle(16), &block[2..6], &block[6..]),
            Self::Q5_1 => small(out, half_at(block, 0), Floor::Stored(half_at(block, 2)), &block[4..8], &block[8..]),
            Self::Q8_0 => {
                let d = half_at(block, 0);
                out.iter_mut().zip(&block[2..]).for_each(|(out, q)| *out = f32::from(q.cast_signed()) * d);
            }
            Self::Q4K => groups(out, block, &[], &block[16..]),
            Self::Q5K => groups(out, block, &block[16..48], &block[48..]),
            Self::Q6K => six(out, block),
        });
    }
}

impl Blocks {
    /// Whether its numbers stand in groups of [`GROUP`] that share a scale and a floor. Those of Q6_K's are of sixteen.
    pub(super) fn has_groups(self) -> bool {
        self != Self::Q6K
    }

    /// The groups of a row's blocks from group `first` on, as many as there is room for: the numbers that
    /// [`Encoding::decode_into`] makes of them.
    pub(super) fn groups(self, bytes: &[u8], first: usize, to: &mut [Group]) {
        let (values, size) = self.unit();
        let each = values / GROUP;
        for (block, to) in bytes[first / each * size..].chunks_exact(size).zip(to.chunks_mut(each)) {
            match self {
                Self::Q4_0 => to[0] = small_group(half_at(block, 0), Floor::Middle(8), &[], &block[2..]),
                Self::Q4_1 => {
                    to[0] = small_group(half_at(block, 0), Floor::Stored(half_at(block, 2)), &[], &block[4..]);
                }
                Self::Q5_0 => to[0] = small_group(half_at(block, 0), Floor::Middle(16), &block[2..6], &block[6..]),
                Self::Q5_1 => {
                    let floor = Floor::Stored(half_at(block, 2));
                    to[0] = small_group(half_at(block, 0), floor, &block[4..8], &block[8..]);
                }
                Self::Q8_0 => {
                    to[0].scale = half_at(block, 0);
                    to[0].floor = 0.0;
                    to[0].numbers.iter_mut().zip(&block[2..]).for_each(|(to, q)| *to = q.cast_signed());
                }
                Self::Q4K => large_groups(to, block, &[], &block[16..]),
                Self::Q5K => large_groups(to, block, &block[16..48], &block[48..]),
                Self::Q6K => {}
            }
        }
    }
}

/// What a block of 32 counts from.
#[derive(Clone, Copy)]
enum Floor {
    /// The number that stands for zero.
    Middle(i16),
    /// The value of the number zero.
    Stored(f32),
}

/// One of 32 values: low nibbles, then high ones; a fifth bit of each, where there is one, in `fifth`.
fn small_number(i: usize, fifth: &[u8], nibbles: &[u8]) -> u8 {
    let nibble = nibbles[i % 16] >> (4 * (i / 16)) & 15;
    let bit = fifth.get(i / 8).map_or(0, |byte| byte >> (i % 8) & 1);
    nibble | bit << 4
}

/// 32 values.
fn small(out: &mut [f32], d: f32, floor: Floor, fifth: &[u8], nibbles: &[u8]) {
    for (i, out) in out.iter_mut().enumerate() {
        let q = i16::from(small_number(i, fifth, nibbles));
        *out = match floor {
            Floor::Middle(zero) => f32::from(q - zero) * d,
            Floor::Stored(least) => f32::from(q) * d + least,
        };
    }
}

/// The same as a group.
fn small_group(scale: f32, floor: Floor, fifth: &[u8], nibbles: &[u8]) -> Group {
    let (zero, floor) = match floor {
        Floor::Middle(zero) => (zero as i8, 0.0),
        Floor::Stored(least) => (0, least),
    };
    let mut numbers = [0; GROUP];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = small_number(i, fifth, nibbles).cast_signed() - zero;
    }
    Group { numbers, scale, floor }
}

/// What the numbers of a group in a block of 256 are multiplied by, and what is taken from them then.
fn step_and_floor(block: &[u8], group: usize) -> (f32, f32) {
    let six = &block[4..16];
    let (scale, minimum) = match group {
        0..4 => (six[group] & 63, six[group + 4] & 63),
        _ => (six[group + 4] & 15 | six[group - 4] >> 6 << 4, six[group + 4] >> 4 | six[group] >> 6 << 4),
    };
    (half_at(block, 0) * f32::from(scale), half_at(block, 2) * f32::from(minimum))
}

/// The groups of a block of 256.
fn large_groups(to: &mut [Group], block: &[u8], fifth: &[u8], nibbles: &[u8]) {
    for (group, to) in to.iter_mut().enumerate() {
        let (scale, floor) = step_and_floor(block, group);
        (to.scale, to.floor) = (scale, -floor);
        let nibbles = &nibbles[group / 2 * 32..][..32];
        let shift = 4 * (group % 2);
        for (number, nibble) in to.numbers.iter_mut().zip(nibbles) {
            *number = (nibble >> shift & 15).cast_signed();
        }
        for (number, fifth) in to.numbers.iter_mut().zip(fifth) {
            *number |= ((fifth >> group & 1) << 4).cast_signed();
        }
    }
}

/// 256 values in 8 groups of 32, each with a scale and a minimum of six bits; the fifth bits of value `i` of every group
/// stand in byte `i` of `fifth`.
fn groups(out: &mut [f32], block: &[u8], fifth: &[u8], nibbles: &[u8]) {
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (step, floor) = step_and_floor(block, group);
        let nibbles = &nibbles[group / 2 * 32..][..32];
        let shift = 4 * (group % 2);
        // plain loops over whole groups, which become vectors
        if fifth.is_empty() {
            for i in 0..32 {
                out[i] = step * f32::from(nibbles[i] >> shift & 15) - floor;
            }
        } else {
            let fifth = &fifth[..32];
            for i in 0..32 {
                out[i] = step * f32::from(nibbles[i] >> shift & 15 | (fifth[i] >> group & 1) << 4) - floor;
            }
        }
    }
}

/// 256 values in 16 groups of 16: low nibbles, pairs of high bits, a signed scale for each group.
fn six(out: &mut [f32], block: &[u8]) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for (i, out) in out.iter_mut().enumerate() {
        let (side, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[side * 64 + quarter % 2 * 32 + at] >> (4 * (quarter / 2)) & 15;
        let pair = high[side * 32 + at] >> (2 * quarter) & 3;
        let step = d * f32::from(scales[i / 16].cast_signed());
        *out = step * f32::from(i16::from(nibble | pair << 4) - 32);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_what_their_definition_says() {
        let of = |byte: u8| Encoding::F8E4M3.decode(&[byte])[0];
        assert_eq!(
            [of(0x00), of(0x01), of(0x08), of(0x38), of(0x7e), of(0xfe)],
            [0.0, 2f32.powi(-9), 2f32.powi(-6), 1.0, 448.0, -448.0]
        );
        assert!(of(0x7f).is_nan() && of(0xff).is_nan());
        let of = |byte: u8| Encoding::F8E5M2.decode(&[byte])[0];
        assert_eq!([of(0x3c), of(0x01), of(0x7b), of(0xc0)], [1.0, 2f32.powi(-16), 57344.0, -2.0]);
        assert!(of(0x7c).is_infinite());
    }

    /// Eight blocks whose numbers differ in every place, with scales of a size that tensors have.
    fn drawn(blocks: Blocks) -> Vec<u8> {
        let size = blocks.unit().1;
        let mut bytes: Vec<u8> =
            (0..8 * size as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8).collect();
        let halves: &[usize] = match blocks {
            Blocks::Q6K => &[208],
            Blocks::Q4_0 | Blocks::Q5_0 | Blocks::Q8_0 => &[0],
            _ => &[0, 2],
        };
        for (i, block) in bytes.chunks_exact_mut(size).enumerate() {
            for at in halves {
                let scale = f16::from_f32(0.01 * (i + at + 1) as f32).to_le_bytes();
                block[*at..at + 2].copy_from_slice(&scale);
            }
        }
        bytes
    }

    #[test]
    fn groups_hold_the_same_numbers() {
        use Blocks::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q8_0};
        for blocks in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K] {
            let bytes = drawn(blocks);
            let numbers = Encoding::Blocks(blocks).decode(&bytes);
            let count = numbers.len() / GROUP;
            for first in [0, count / 8, count / 2] {
                let mut groups = vec![Group::ZERO; count - first];
                blocks.groups(&bytes, first, &mut groups);
                for (i, number) in numbers[first * GROUP..].iter().enumerate() {
                    let group = &groups[i / GROUP];
                    let got = group.scale * f32::from(group.numbers[i % GROUP]) + group.floor;
                    assert!((got - number).abs() <= 1e-6 * number.abs().max(group.floor.abs()), "{blocks:?} {i}");
                }
            }
        }
    }

    /// Blocks agree with an independent reader of the same layouts.
    #[test]
    fn blocks_are_what_another_reader_makes_of_them() {
        use candle_core::quantized::{GgmlDType, QTensor, ggml_file::qtensor_from_ggml};
        let kinds = [
            (Blocks::Q4_0, GgmlDType::Q4_0),
            (Blocks::Q4_1, GgmlDType::Q4_1),
            (Blocks::Q5_0, GgmlDType::Q5_0),
            (Blocks::Q5_1, GgmlDType::Q5_1),
            (Blocks::Q8_0, GgmlDType::Q8_0),
            (Blocks::Q4K, GgmlDType::Q4K),
            (Blocks::Q5K, GgmlDType::Q5K),
            (Blocks::Q6K, GgmlDType::Q6K),
        ];
        for (blocks, other) in kinds {
            let (values, bytes) = (blocks.unit().0, drawn(blocks));
            let ours = Encoding::Blocks(blocks).decode(&bytes);
            let device = candle_core::Device::Cpu;
            let theirs: QTensor = qtensor_from_ggml(other, &bytes, vec![8, values], &device).expect("their reader");
            let theirs = theirs.dequantize(&device).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).expect("values");
            assert_eq!(ours.len(), theirs.len());
            let far = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let large = ours.iter().fold(0f32, |large, x| large.max(x.abs()));
            assert!(far <= 1e-6 * large, "{blocks:?}: {far} of {large}");
            assert!(ours.iter().any(|x| *x != ours[0]));
        }
    }
}
