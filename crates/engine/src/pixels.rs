//! The end of the way: bytes.

use candle_core::{DType, Tensor};

use crate::error::Result;

/// An 8-bit RGB picture, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height · width · 3` bytes.
    pub rgb: Vec<u8>,
}

impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pixels({}×{})", self.width, self.height)
    }
}

impl Pixels {
    /// The pictures of a batch `[batch, 3, height, width]` in −1 … 1.
    ///
    /// (x · 0.5 + 0.5) clamped to 0 … 1, times 255, rounded half to even: diffusers' `VaeImageProcessor` followed by
    /// its `numpy_to_pil`.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub fn from_batch(image: &Tensor) -> Result<Vec<Self>> {
        let (batch, _, height, width) = image.dims4()?;
        let unit = image.to_dtype(DType::F32)?.affine(0.5, 0.5)?.clamp(0f32, 1f32)?;
        let rows = unit.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = rows.iter().map(|x| (x * 255.0).round_ties_even() as u8).collect();
        let each = height * width * 3;
        Ok((0..batch).map(|i| Self { width, height, rgb: bytes[i * each..(i + 1) * each].to_vec() }).collect())
    }

    /// Back to a tensor `[batch, height, width, 3]` of bytes, for traces.
    ///
    /// # Errors
    /// Pictures of different sizes.
    pub fn to_tensor(batch: &[Self]) -> Result<Tensor> {
        let (height, width) = batch.first().map_or((0, 0), |p| (p.height, p.width));
        let bytes: Vec<u8> = batch.iter().flat_map(|p| p.rgb.iter().copied()).collect();
        Ok(Tensor::from_vec(bytes, (batch.len(), height, width, 3), &candle_core::Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn halves_round_to_even_and_the_rest_is_clamped() -> Result<()> {
        let value = |level: f64| (level / 255.0 * 2.0 - 1.0) as f32;
        let x = [value(0.0), value(255.0), -3.0, 2.0, value(100.2), value(100.8)];
        let image = Tensor::new(&x, &Device::Cpu)?.reshape((1, 3, 1, 2))?;
        let pixels = &Pixels::from_batch(&image)?[0];
        assert_eq!(pixels.rgb, [0, 0, 100, 255, 255, 101]);
        Ok(())
    }
}
