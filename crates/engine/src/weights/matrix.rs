//! A matrix as it is held: every number in the type of computation, or, on a CPU, the bytes of the file where they lie, which
//! are decoded piece by piece whenever it is multiplied. Its values are the same in both, and a product on a CPU takes no
//! memory beside the bytes but for what its threads keep.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use scumble_kernels::Rows;

use super::bytes::Kept;
use super::encoding::Encoding;
use super::held::Precision;
use super::scales::Scale;
use crate::error::Result;

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
}

impl Matrix {
    /// The type of its products.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Whole(weight) => weight.dtype(),
            Self::Packed(_) => DType::F32,
        }
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
        (fits && shape.rank() > 1).then_some(Self { bytes, encoding, rows, columns, scale: None })
    }

    /// The same in the type that matrices are to be held in.
    pub(super) fn held_as(self, precision: &Precision) -> Self {
        let encoding = precision.holds(&self.encoding);
        if encoding == self.encoding {
            return self;
        }
        let numbers = self.bytes.as_chunks::<4>().0.par_iter().map(|bytes| f32::from_le_bytes(*bytes));
        let bytes: Vec<[u8; 2]> = if encoding == Encoding::Plain(DType::BF16) {
            numbers.map(|x| bf16::from_f32(x).to_le_bytes()).collect()
        } else {
            numbers.map(|x| f16::from_f32(x).to_le_bytes()).collect()
        };
        Self { bytes: Kept::Own(bytes.into_flattened().into()), encoding, ..self }
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
        let each = self.bytes.len() / self.rows.max(1);
        let (values, size) = self.encoding.unit().unwrap_or((1, 1));
        let bytes = &self.bytes[row * each + first / values * size..(row + 1) * each];
        self.encoding.decode_into(bytes, to);
        if let Some(scale) = &self.scale {
            scale.apply_to_row(to, row);
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
        let bytes: Arc<[u8]> = (0..rows * columns / 32).flat_map(|_| block.iter().copied()).collect();
        let encoding = Encoding::Blocks(super::super::encoding::Blocks::Q8_0);
        let factors = (0..rows).map(|row| 1.0 + row as f32 / rows as f32).collect();
        let scale = Some(Scale::Rows(factors));
        let packed = Arc::new(Packed { bytes: Kept::Own(bytes), encoding, rows, columns, scale });
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
}
