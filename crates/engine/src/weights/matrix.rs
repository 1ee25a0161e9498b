//! A matrix as it is held: every number in the type of computation, or, on a CPU, the bytes of the file where they lie, which
//! are decoded piece by piece whenever it is multiplied. Its values are the same in both, and a product on a CPU takes no
//! memory beside the bytes but for what its threads keep.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use half::f16;
use rayon::prelude::*;
use scumble_kernels::{Finish, GROUP, Group, GroupRows, Rows};

use super::bytes::Kept;
use super::encoding::Encoding;
use super::held::Precision;
use super::scales::Scale;
use crate::error::{Error, Result};

/// A matrix `[rows, columns]`; a tensor of more dimensions counts as one, its first dimension as rows.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Every number.
    Whole(Tensor),
    /// The bytes of a file.
    Packed(Arc<Packed>),
}

/// The bytes of a matrix, row after row. Its products are float32.
#[derive(Debug)]
pub struct Packed {
    pub(super) bytes: Kept,
    pub(super) encoding: Encoding,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) scale: Option<Scale>,
    pub(super) rounding: Rounding,
}

/// What may be rounded so that a product is faster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounding {
    /// What is multiplied with groups of whole numbers: to whole numbers too.
    pub(super) groups: bool,
    /// What is multiplied with bfloat16: to bfloat16 too.
    pub(super) halves: bool,
}

/// Numbers that a thread rounds at a time.
const ROUNDED: usize = 1 << 16;

/// float32 to the nearest number of a smaller type. Whether all that is finite stayed so.
type Round = fn(&[[u8; 4]], &mut [[u8; 2]]) -> bool;

/// float32 to the nearest float16. Whether all that is finite stayed so.
fn to_float16(bytes: &[[u8; 4]], to: &mut [[u8; 2]]) -> bool {
    to.iter_mut().zip(bytes).fold(true, |fits, (to, bytes)| {
        let number = f32::from_le_bytes(*bytes);
        let half = f16::from_f32(number);
        *to = half.to_le_bytes();
        fits && (half.is_finite() || !number.is_finite())
    })
}

impl Matrix {
    /// The type of its products.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Whole(weight) => weight.dtype(),
            Self::Packed(_) => DType::F32,
        }
    }

    /// Whether what it is multiplied with is rounded to bfloat16.
    pub(crate) fn rounds_to_halves(&self) -> bool {
        matches!(self, Self::Packed(packed) if packed.rounds_to_halves())
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        match self {
            Self::Whole(weight) => weight.device(),
            Self::Packed(_) => &Device::Cpu,
        }
    }

    /// Rows and columns.
    pub fn dims(&self) -> (usize, usize) {
        match self {
            Self::Whole(weight) => {
                let rows = weight.dims().first().copied().unwrap_or(1);
                (rows, weight.elem_count() / rows.max(1))
            }
            Self::Packed(packed) => (packed.rows, packed.columns),
        }
    }

    /// Every number: `[rows, columns]`, or in the shape in which it is held.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn whole(&self) -> Result<Tensor> {
        match self {
            Self::Whole(weight) => Ok(weight.clone()),
            Self::Packed(packed) => packed.decode(0..packed.rows),
        }
    }

    /// Rows by their numbers, `[n, columns]`.
    ///
    /// # Errors
    /// A number beyond the last row.
    pub fn select(&self, rows: &[u32]) -> Result<Tensor> {
        match self {
            Self::Whole(weight) => Ok(weight.index_select(&Tensor::new(rows, weight.device())?, 0)?),
            Self::Packed(packed) => {
                let row = |row: &u32| packed.decode(*row as usize..*row as usize + 1);
                let rows = rows.iter().map(row).collect::<Result<Vec<Tensor>>>()?;
                Ok(Tensor::cat(&rows, 0)?)
            }
        }
    }
}

impl Packed {
    /// A matrix of this shape in these bytes, where they are whole rows.
    pub(super) fn whole_rows(shape: &Shape, encoding: Encoding, bytes: Kept) -> Option<Self> {
        let rows = shape.dims().first().copied().filter(|rows| *rows > 0)?;
        let columns = shape.elem_count() / rows;
        let (values, size) = encoding.unit()?;
        let fits = columns > 0 && columns.is_multiple_of(values) && bytes.len() == rows * columns / values * size;
        (fits && shape.rank() > 1).then_some(Self {
            bytes,
            encoding,
            rows,
            columns,
            scale: None,
            rounding: Rounding::default(),
        })
    }

    /// The same in the type that matrices are to be held in.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a number that this type cannot hold.
    pub(super) fn held_as(self, precision: &Precision, name: &str) -> Result<Self> {
        let (encoding, rounding) = (precision.holds(&self.encoding), precision.rounding());
        if encoding == self.encoding {
            return Ok(Self { rounding, ..self });
        }
        let numbers = self.bytes.as_chunks::<4>().0;
        let mut bytes = vec![0; 2 * numbers.len()];
        let (dtype, round): (_, Round) = match encoding {
            Encoding::Plain(DType::BF16) => (DType::BF16, scumble_kernels::to_bfloat16),
            _ => (DType::F16, to_float16),
        };
        let halves = bytes.as_chunks_mut::<2>().0;
        let fits = |(numbers, halves): (&[[u8; 4]], &mut [[u8; 2]])| round(numbers, halves);
        if !numbers.par_chunks(ROUNDED).zip(halves.par_chunks_mut(ROUNDED)).all(fits) {
            return Err(Error::NotFinite { place: format!("where {name} is rounded"), dtype });
        }
        Ok(Self { bytes: Kept::Own(Arc::new(bytes)), encoding, rounding, ..self })
    }

    /// `output = finish(x Wᵀ)` for `x` `[n, columns]`.
    pub(crate) fn product(&self, x: &[f32], finish: &Finish<'_>, output: &mut [f32]) {
        let is_scaled = self.scale.is_some();
        match &self.encoding {
            Encoding::Blocks(blocks) if self.rounding.groups && !is_scaled && blocks.has_groups() => {
                scumble_kernels::group_product(x, self, finish, output);
            }
            _ if self.rounds_to_halves() => {
                scumble_kernels::half_product(x, self, finish, output);
            }
            _ => scumble_kernels::product(x, self, finish, output),
        }
    }

    fn rounds_to_halves(&self) -> bool {
        self.rounding.halves && self.encoding == Encoding::Plain(DType::BF16) && self.scale.is_none()
    }

    /// The bytes of a row.
    fn row(&self, row: usize) -> &[u8] {
        let each = self.bytes.len() / self.rows.max(1);
        &self.bytes[row * each..][..each]
    }

    /// Some rows.
    fn decode(&self, rows: Range<usize>) -> Result<Tensor> {
        let each = self.bytes.len() / self.rows.max(1);
        let bytes = self.bytes.get(rows.start * each..rows.end * each);
        let bytes = bytes.ok_or_else(|| candle_core::Error::Msg(format!("row {} is beyond the last", rows.end)))?;
        let mut numbers = self.encoding.decode(bytes);
        if let Some(scale) = &self.scale {
            scale.apply(&mut numbers, rows.clone(), self.columns);
        }
        Ok(Tensor::from_vec(numbers, (rows.len(), self.columns), &Device::Cpu)?)
    }
}

impl Rows for Packed {
    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn read(&self, row: usize, first: usize, to: &mut [f32]) {
        let (values, size) = self.encoding.unit().unwrap_or((1, 1));
        self.encoding.decode_into(&self.row(row)[first / values * size..], to);
        if let Some(scale) = &self.scale {
            scale.apply_to_row(to, row);
        }
    }

    fn read_pairs(&self, row: usize, first: usize, to: &mut [u32]) {
        debug_assert!(self.encoding == Encoding::Plain(DType::BF16) && self.scale.is_none());
        let (pairs, odd) = self.row(row)[2 * first..].as_chunks::<4>();
        to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = u32::from_le_bytes(*pair));
        if let (Some(to), [low, high]) = (to.get_mut(pairs.len()), odd) {
            *to = u32::from(u16::from_le_bytes([*low, *high]));
        }
    }
}

impl GroupRows for Packed {
    fn groups(&self, row: usize, first: usize, to: &mut [Group]) {
        debug_assert!(self.columns.is_multiple_of(GROUP) && self.scale.is_none());
        if let Encoding::Blocks(blocks) = self.encoding {
            blocks.groups(self.row(row), first, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Q8_0 with more columns than are decoded at once, and a scale for each row.
    #[test]
    fn bytes_are_read_as_their_numbers() -> Result<()> {
        let (rows, columns) = (37, 4096);
        let block: Vec<u8> = [0x00, 0x2c].into_iter().chain((0..32u8).map(|i| i.wrapping_mul(37))).collect();
        let bytes: Arc<Vec<u8>> = Arc::new((0..rows * columns / 32).flat_map(|_| block.iter().copied()).collect());
        let encoding = Encoding::Blocks(super::super::encoding::Blocks::Q8_0);
        let factors = (0..rows).map(|row| 1.0 + row as f32 / rows as f32).collect();
        let scale = Some(Scale::Rows(factors));
        let packed =
            Arc::new(Packed { bytes: Kept::Own(bytes), encoding, rows, columns, scale, rounding: Rounding::default() });
        let matrix = Matrix::Packed(packed.clone());
        let whole = matrix.whole()?;
        for row in [0, 7, rows - 1] {
            let expected = whole.get(row)?.to_vec1::<f32>()?;
            for (first, count) in [(0, columns), (256, 256), (3840, 256)] {
                let mut got = vec![0.0; count];
                packed.read(row, first, &mut got);
                assert_eq!(got, expected[first..first + count]);
            }
        }
        let picked = matrix.select(&[7, 0, rows as u32 - 1])?;
        for (i, row) in [7, 0, rows - 1].into_iter().enumerate() {
            assert_eq!(picked.get(i)?.to_vec1::<f32>()?, whole.get(row)?.to_vec1::<f32>()?);
        }
        assert!(matrix.select(&[rows as u32]).is_err());
        Ok(())
    }

    /// As pairs, bfloat16 is what it is as float32.
    #[test]
    fn pairs_are_the_same_numbers() {
        let (rows, columns) = (3, 301);
        let bytes = (0..rows * columns).flat_map(|i| half::bf16::from_f32(i as f32 / 7.0).to_le_bytes()).collect();
        let (encoding, rounding) = (Encoding::Plain(DType::BF16), Rounding::default());
        let packed = Packed { bytes: Kept::Own(Arc::new(bytes)), encoding, rows, columns, scale: None, rounding };
        for (first, count) in [(0, 301), (256, 45)] {
            let (mut numbers, mut pairs) = (vec![0.0; count], vec![0; count.div_ceil(2)]);
            packed.read(2, first, &mut numbers);
            packed.read_pairs(2, first, &mut pairs);
            let halves = pairs.iter().flat_map(|pair| [pair << 16, pair & 0xffff_0000]).map(f32::from_bits);
            assert!(halves.clone().take(count).eq(numbers.iter().copied()));
            assert_eq!(halves.skip(count).collect::<Vec<_>>(), vec![0.0; count % 2]);
        }
    }
}
