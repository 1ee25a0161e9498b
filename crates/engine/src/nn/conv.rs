//! Convolutions and the upsampling between them.

use candle_core::{DType, Tensor};

use crate::checkpoint::Weights;
use crate::error::Result;

/// A convolution with a square kernel and bias over `[batch, channels, height, width]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor, // [output, input, kernel, kernel]
    bias: Tensor,   // [1, output, 1, 1]
    /// Type of the output. On a CPU weights are kept and products taken in float32: candle convolves no bfloat16
    /// there, and float16 would gain nothing.
    dtype: DType,
    stride: usize,
    padding: Padding,
}

#[derive(Clone, Copy, Debug)]
enum Padding {
    /// The same on all sides, so that stride 1 keeps the size.
    Same,
    /// One row below and one column to the right: how diffusers' downsampling pads.
    BottomRight,
}

impl Conv2d {
    /// Stride 1, size kept.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, input: usize, output: usize, kernel: usize) -> Result<Self> {
        Self::new(w, input, output, kernel, 1, Padding::Same)
    }

    /// Stride 2, kernel 3, padded at the bottom and the right: halves the size.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_downsample(w: &Weights, channels: usize) -> Result<Self> {
        Self::new(w, channels, channels, 3, 2, Padding::BottomRight)
    }

    fn new(w: &Weights, input: usize, output: usize, kernel: usize, stride: usize, padding: Padding) -> Result<Self> {
        let bias = w.get(output, "bias")?;
        let dtype = bias.dtype();
        let wide = if w.device().is_cpu() { DType::F32 } else { dtype };
        let weight = w.get_as((output, input, kernel, kernel), "weight", Some(wide))?;
        let bias = bias.to_dtype(wide)?.reshape((1, output, 1, 1))?;
        Ok(Self { weight, bias, dtype, stride, padding })
    }

    /// `[batch, input, h, w]` to `[batch, output, h / stride, w / stride]`, in the type of the weights' file.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(self.weight.dtype())?;
        let y = match self.padding {
            Padding::Same => x.conv2d(&self.weight, self.weight.dim(2)? / 2, self.stride, 1, 1)?,
            Padding::BottomRight => {
                x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?.conv2d(&self.weight, 0, self.stride, 1, 1)?
            }
        };
        Ok(y.broadcast_add(&self.bias)?.to_dtype(self.dtype)?)
    }
}

/// Nearest-neighbour upsampling by two in both directions.
///
/// # Errors
/// A device out of memory.
pub fn upsample_2x(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let y = x.reshape((batch, channels, height, 1, width, 1))?;
    let y = y.broadcast_as((batch, channels, height, 2, width, 2))?;
    Ok(y.reshape((batch, channels, 2 * height, 2 * width))?)
}
