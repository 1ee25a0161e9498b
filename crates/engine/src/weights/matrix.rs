//! A matrix as it is held: every number in the type of computation, or the bytes of the file, which are decoded piece by piece
//! whenever it is multiplied. Its values are the same in both.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::encoding::Encoding;
use super::scales::Scale;
use crate::error::Result;

/// Numbers that are decoded at once: what a product takes beside the bytes, 16 MiB in float32 and a copy in the type of
/// computation.
const AT_ONCE: usize = 1 << 22;

/// A matrix `[rows, columns]`; a tensor of more dimensions counts as one, its first dimension as rows.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Every number.
    Whole(Tensor),
    /// The bytes of a file.
    Packed(Arc<Packed>),
}

/// The bytes of a matrix in fp8 or in blocks, row after row.
#[derive(Debug)]
pub struct Packed {
    pub(super) bytes: Arc<[u8]>,
    pub(super) encoding: Encoding,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) scale: Option<Scale>,
    /// What its products are computed in.
    pub(super) dtype: DType,
}

impl Matrix {
    /// The type of its products.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Whole(weight) => weight.dtype(),
            Self::Packed(packed) => packed.dtype,
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

    /// x Wᵀ for `[n, columns]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Whole(weight) => Ok(x.matmul(&weight.reshape(self.dims())?.t()?)?),
            Self::Packed(packed) => packed.product(x),
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
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        let step = (AT_ONCE / self.columns.max(1)).max(1);
        let piece = |first: usize| -> Result<Tensor> {
            Ok(x.matmul(&self.decode(first..(first + step).min(self.rows))?.t()?)?)
        };
        let pieces = (0..self.rows).step_by(step).map(piece).collect::<Result<Vec<Tensor>>>()?;
        match &pieces[..] {
            [one] => Ok(one.clone()),
            _ => Ok(Tensor::cat(&pieces, 1)?),
        }
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
        Ok(Tensor::from_vec(numbers, (rows.len(), self.columns), &Device::Cpu)?.to_dtype(self.dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;

    /// Q8_0 with as many rows as take several pieces.
    #[test]
    fn products_of_bytes_are_those_of_their_numbers() -> Result<()> {
        let (rows, columns) = (3 * AT_ONCE / 4096 + 5, 4096);
        let block: Vec<u8> = [0x00, 0x2c].into_iter().chain((0..32u8).map(|i| i.wrapping_mul(37))).collect();
        let bytes: Arc<[u8]> = (0..rows * columns / 32).flat_map(|_| block.iter().copied()).collect();
        let encoding = Encoding::Blocks(super::super::encoding::Blocks::Q8_0);
        let factors = (0..rows).map(|row| 1.0 + row as f32 / rows as f32).collect();
        let scale = Some(Scale::Rows(factors));
        let packed = Packed { bytes, encoding, rows, columns, scale, dtype: DType::F32 };
        let packed = Matrix::Packed(Arc::new(packed));
        let whole = packed.whole()?;
        let x = Generator::new(1).noise(&[2, columns])?;
        let (ours, plain) = (packed.product(&x)?, x.matmul(&whole.t()?)?);
        assert_eq!(ours.dims(), [2, rows]);
        let far = (&ours - &plain)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(far <= 1e-5 * plain.abs()?.max_all()?.to_scalar::<f32>()?, "{far}");
        let picked = packed.select(&[7, 0, rows as u32 - 1])?;
        for (i, row) in [7, 0, rows - 1].into_iter().enumerate() {
            assert_eq!(picked.get(i)?.to_vec1::<f32>()?, whole.get(row)?.to_vec1::<f32>()?);
        }
        assert!(packed.select(&[rows as u32]).is_err());
        Ok(())
    }
}
