//! Convolutions and the upsampling between them.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use scumble_kernels::{Conv, ConvKind};

use super::kernel::numbers;
use crate::error::Result;
use crate::weights::Weights;

/// A convolution with a square kernel and bias over `[batch, channels, height, width]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    form: Form,
    /// Type of the output. On a CPU weights are kept and products taken in float32: bfloat16 and float16 would gain
    /// nothing there.
    dtype: DType,
}

#[derive(Clone, Debug)]
enum Form {
    /// The kernel, with the weights in its own order.
    Packed(Arc<Conv>),
    Plain(Plain),
}

/// The convolution over candle.
#[derive(Clone, Debug)]
struct Plain {
    weight: Tensor, // [output, input, kernel, kernel]
    bias: Tensor,   // [output]
    kind: ConvKind,
}

impl Conv2d {
    /// Stride 1, size kept.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, input: usize, output: usize, kernel: usize) -> Result<Self> {
        Self::new(w, input, output, ConvKind::Same { kernel })
    }

    /// Stride 2, kernel 3, padded at the bottom and the right as diffusers' downsampling pads: halves the size.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_downsample(w: &Weights, channels: usize) -> Result<Self> {
        Self::new(w, channels, channels, ConvKind::Halve)
    }

    fn new(w: &Weights, input: usize, output: usize, kind: ConvKind) -> Result<Self> {
        let bias = w.get(output, "bias")?;
        let dtype = bias.dtype();
        let wide = if w.device().is_cpu() { DType::F32 } else { dtype };
        let weight = w.get_as((output, input, kind.kernel(), kind.kernel()), "weight", Some(wide))?;
        let plain = Plain { weight, bias: bias.to_dtype(wide)?, kind };
        // weights without storage are there to be counted, not to be used
        let packs = w.device().is_cpu() && plain.weight.is_contiguous();
        let form = if packs { Form::Packed(Arc::new(plain.pack()?)) } else { Form::Plain(plain) };
        Ok(Self { form, dtype })
    }

    /// `[batch, input, h, w]` to `[batch, output, h / stride, w / stride]`, in the type of the weights' file.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.form {
            Form::Packed(conv) => x.to_dtype(DType::F32)?.contiguous()?.apply_op1_no_bwd(&Packed(conv))?,
            Form::Plain(plain) => plain.forward(&x.to_dtype(plain.weight.dtype())?)?,
        };
        Ok(y.to_dtype(self.dtype)?)
    }
}

impl Plain {
    fn pack(&self) -> Result<Conv> {
        Ok(Conv::new(self.kind, &numbers(&self.weight)?, &numbers(&self.bias)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match self.kind {
            ConvKind::Same { kernel } => x.conv2d(&self.weight, kernel / 2, 1, 1, 1)?,
            ConvKind::Halve => x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?.conv2d(&self.weight, 0, 2, 1, 1)?,
        };
        Ok(y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)?)
    }
}

struct Packed<'a>(&'a Conv);

impl CustomOp1 for Packed<'_> {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("conv2d takes contiguous float32");
        };
        let (batch, channels, height, width) = layout.shape().dims4()?;
        if channels != self.0.input() || height == 0 || width == 0 {
            candle_core::bail!("a conv2d of {} channels got {:?}", self.0.input(), layout.shape());
        }
        let shape = Shape::from((batch, self.0.output(), self.0.kind().side(height), self.0.kind().side(width)));
        let mut output = vec![0f32; shape.elem_count()];
        self.0.run(&values[start..end], (height, width), &mut output);
        Ok((CpuStorage::F32(output), shape))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;

    #[test]
    fn the_kernel_agrees_with_the_plain_form() -> Result<()> {
        let mut g = Generator::new(4);
        for kind in [ConvKind::Same { kernel: 3 }, ConvKind::Same { kernel: 1 }, ConvKind::Halve] {
            let k = kind.kernel();
            let plain = Plain { weight: g.noise(&[6, 20, k, k])?, bias: g.noise(&[6])?, kind };
            let conv = Conv2d { form: Form::Packed(Arc::new(plain.pack()?)), dtype: DType::F32 };
            for (height, width) in [(16, 16), (7, 9), (33, 64), (2, 3)] {
                let x = g.noise(&[2, 20, height, width])?;
                let (a, b) = (conv.forward(&x)?, plain.forward(&x)?);
                assert_eq!(a.dims(), b.dims());
                let close = numbers(&a)?.iter().zip(&numbers(&b)?).all(|(a, b)| (a - b).abs() < 1e-4);
                assert!(close, "{kind:?} at {height}x{width}");
                let turned = x.transpose(2, 3)?;
                assert_eq!(numbers(&conv.forward(&turned)?)?, numbers(&conv.forward(&turned.contiguous()?)?)?);
            }
            assert!(conv.forward(&g.noise(&[1, 19, 4, 4])?).is_err(), "channels are checked");
        }
        Ok(())
    }
}
