//! Convolutions of pictures whose channels lie together, `[batch, height, width, channels]`.

use std::sync::Arc;

use candle_core::Tensor;
use scumble_kernels::{Conv, ConvKind};

use super::card;
use super::kernel::{Numbers, in_order, unfit};
use crate::error::Result;
use crate::weights::Weights;

/// A convolution with a square kernel and bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    form: Form,
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

    /// Kernel 3 over the picture with every pixel repeated in both directions: doubles the size.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_upsample(w: &Weights, channels: usize) -> Result<Self> {
        Self::new(w, channels, channels, ConvKind::Double)
    }

    fn new(w: &Weights, input: usize, output: usize, kind: ConvKind) -> Result<Self> {
        let bias = w.get(output, "bias")?;
        let weight = w.get((output, input, kind.kernel(), kind.kernel()), "weight")?;
        let plain = Plain { weight, bias, kind };
        // weights without storage are there to be counted, not to be used
        let packs = w.device().is_cpu() && plain.weight.is_contiguous();
        Ok(Self { form: if packs { Form::Packed(Arc::new(plain.pack()?)) } else { Form::Plain(plain) } })
    }

    /// `[batch, h, w, input]` to `[batch, h', w', output]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None)
    }

    /// `onto` plus the convolution.
    ///
    /// # Errors
    /// As [`Conv2d::forward`].
    pub fn added(&self, x: &Tensor, onto: &Tensor) -> Result<Tensor> {
        self.run(x, Some(onto))
    }

    fn run(&self, x: &Tensor, onto: Option<&Tensor>) -> Result<Tensor> {
        let y = match &self.form {
            Form::Packed(conv) => here(conv, x, onto)?,
            Form::Plain(plain) => {
                let x = x.to_dtype(plain.weight.dtype())?;
                match card::convolved(&x, (&plain.weight, &plain.bias), plain.kind, onto)? {
                    Some(y) => y,
                    None => {
                        let y = plain.forward(&x)?;
                        onto.map_or(Ok(y.clone()), |onto| onto + y)?
                    }
                }
            }
        };
        super::work::count(y.elem_count(), x.dim(3)?, self.form.kernel().pow(2));
        Ok(y)
    }
}

/// By our kernel.
fn here(conv: &Conv, x: &Tensor, onto: Option<&Tensor>) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let (rows, columns) = (conv.kind().side(height), conv.kind().side(width));
    let shape = (batch, rows, columns, conv.output());
    let fits = onto.is_none_or(|onto| onto.dims() == [batch, rows, columns, conv.output()]);
    if channels != conv.input() || height == 0 || width == 0 || !fits {
        let reason = format!("a conv2d of {} channels got {:?}", conv.input(), x.dims());
        return Err(unfit(reason));
    }
    let (x, onto) = (in_order(x)?, onto.map(in_order).transpose()?);
    let onto = onto.as_ref().map(Numbers::of).transpose()?;
    let mut output = scumble_kernels::zeros(batch * rows * columns * conv.output());
    conv.run(&Numbers::of(&x)?, (height, width), onto.as_deref(), &mut output);
    Ok(Tensor::from_vec(output, shape, x.device())?)
}

impl Form {
    /// The side of the kernel.
    fn kernel(&self) -> usize {
        match self {
            Self::Packed(conv) => conv.kind().kernel(),
            Self::Plain(plain) => plain.kind.kernel(),
        }
    }
}

impl Plain {
    fn pack(&self) -> Result<Conv> {
        let (weight, bias) = (in_order(&self.weight)?, in_order(&self.bias)?);
        Ok(Conv::new(self.kind, &Numbers::of(&weight)?, &Numbers::of(&bias)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.permute((0, 3, 1, 2))?.contiguous()?;
        let y = match self.kind {
            ConvKind::Same { kernel } => x.conv2d(&self.weight, kernel / 2, 1, 1, 1)?,
            ConvKind::Halve => x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?.conv2d(&self.weight, 0, 2, 1, 1)?,
            ConvKind::Double => {
                let (_, _, height, width) = x.dims4()?;
                x.upsample_nearest2d(2 * height, 2 * width)?.conv2d(&self.weight, 1, 1, 1, 1)?
            }
        };
        let y = y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)?;
        Ok(y.permute((0, 2, 3, 1))?.contiguous()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernel::numbers;
    use crate::rng::Generator;

    #[test]
    fn the_kernel_agrees_with_the_plain_form() -> Result<()> {
        let mut g = Generator::new(4);
        for kind in [ConvKind::Same { kernel: 3 }, ConvKind::Same { kernel: 1 }, ConvKind::Halve, ConvKind::Double] {
            for (input, output) in [(20, 6), (16, 32)] {
                let k = kind.kernel();
                let plain = Plain { weight: g.noise(&[output, input, k, k])?, bias: g.noise(&[output])?, kind };
                let conv = Conv2d { form: Form::Packed(Arc::new(plain.pack()?)) };
                for (height, width) in [(16, 16), (7, 9), (33, 64), (2, 3)] {
                    let x = g.noise(&[2, height, width, input])?;
                    let (a, b) = (conv.forward(&x)?, plain.forward(&x)?);
                    assert_eq!(a.dims(), b.dims());
                    // about a hundred is added up without signs
                    let far = (a - b)?.abs()?.max_all()?.to_scalar::<f32>()?;
                    assert!(far < 5e-4, "{kind:?} {input}->{output} at {height}x{width}: {far}");
                    let turned = x.transpose(1, 2)?;
                    assert_eq!(numbers(&conv.forward(&turned)?)?, numbers(&conv.forward(&turned.contiguous()?)?)?);
                }
                assert!(conv.forward(&g.noise(&[1, 4, 4, 19])?).is_err(), "channels are checked");
            }
        }
        Ok(())
    }
}
