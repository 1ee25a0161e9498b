//! Whether kernels do on a card what they are to do: asked once for each card, when it is opened.
//!
//! The driver compiles kernels for its card, or loads what a compiler made for it; nobody has seen them on every card. So each
//! computes something small, and the same is computed on the CPU. Where a kernel is wrong or does not start, plain forms run on
//! that card, and whoever opened it is told.

use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Device, Tensor};
use scumble_kernels::{Activation, Conv, ConvKind};

use super::super::activation::apply;
use super::super::then::Then;
use super::super::{Rotary, attention, gated, modulated_norm, standardised, unit_rms};
use super::{convolved, finished, group_norm, rms_norm};
use crate::error::Result;
use crate::rng::Generator;

/// Cards whose kernels are not used, a bit for each.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// As a share of the largest number: bfloat16 has eight bits, and some results are made of results.
const TOLERANCE: f32 = 0.02;

/// Whether kernels are used on this card.
pub(super) fn is_trusted(ordinal: usize) -> bool {
    REFUSED.load(Ordering::Relaxed) & bit(ordinal) == 0
}

/// Has every kernel compute something; an error says which is not to be used, and then none is.
pub(crate) fn tried(device: &Device) -> std::result::Result<(), String> {
    let Device::Cuda(card) = device else { return Ok(()) };
    let wrong = match differing(device) {
        Ok(None) => return Ok(()),
        Ok(Some(wrong)) => wrong,
        Err(error) => format!("they do not start: {error}"),
    };
    REFUSED.fetch_or(bit(card.cuda_stream().context().ordinal()), Ordering::Relaxed);
    Err(wrong)
}

/// More cards than a machine has share the last bit.
fn bit(ordinal: usize) -> u64 {
    1 << ordinal.min(63)
}

/// The first kernel that gives something else than the CPU.
fn differing(device: &Device) -> Result<Option<String>> {
    let (here, there) = (results(&Device::Cpu, DType::F32)?, results(device, DType::BF16)?);
    for ((name, here), (_, there)) in here.iter().zip(&there) {
        let there = there.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let far = (here - &there)?.abs()?.max_all()?.to_scalar::<f32>()?;
        let largest = here.abs()?.max_all()?.to_scalar::<f32>()?;
        // what is no number is not near
        let is_near = far <= TOLERANCE * largest;
        if !is_near {
            return Ok(Some(format!("{name} is {far} from the CPU's, whose largest number is {largest}")));
        }
    }
    Ok(None)
}

/// What operations make of the same numbers, which bfloat16 has exactly, on a device.
fn results(device: &Device, dtype: DType) -> Result<Vec<(&'static str, Tensor)>> {
    let mut generator = Generator::new(7);
    let mut noise = |shape: &[usize]| -> Result<Tensor> {
        Ok(generator.noise(shape)?.to_dtype(DType::BF16)?.to_device(device)?.to_dtype(dtype)?)
    };
    let mut all = Vec::new();
    let (x, wide) = (noise(&[2, 37, 128])?, noise(&[2, 37, 128])?);
    let (shift, scale) = (noise(&[2, 128])?, noise(&[2, 128])?);
    all.push(("layer norm with modulation", modulated_norm(&x, &shift, &scale, 1e-6)?));
    all.push(("layer norm", standardised(&x, 1e-6)?));
    all.push(("RMS norm", unit_rms(&noise(&[3, 11, 100])?, 1e-6)?));
    all.push(("gated residual", gated(&x, &scale, &wide)?));
    all.push(("SiLU", apply(&x, Activation::Silu)?));
    all.push(("GELU", apply(&x, Activation::GeluTanh)?));
    let then = Then { activation: Some(Activation::Gelu), times: Some(&wide), ..Then::default() };
    let bias = noise(&[128])?;
    all.push(("what follows a product", after_product(&x, &bias, then)?));
    let gain = noise(&[64])?;
    let turned = noise(&[2, 19, 4, 64])?.transpose(1, 2)?;
    all.push(("RMS norm of heads", normed_heads(&turned, &gain)?));
    let positions: Vec<Vec<u32>> = (0..19).map(|i| vec![i, i / 5]).collect();
    let heads = noise(&[2, 19, 4, 64])?.transpose(1, 2)?;
    all.push(("rotation", Rotary::new(&positions, &[32, 32], 10000.0, device)?.apply(&heads)?));
    for width in [64, 128] {
        let (q, k, v) = (noise(&[1, 4, 77, width])?, noise(&[1, 2, 300, width])?, noise(&[1, 2, 300, width])?);
        all.push(("attention", attention(&q, &k, &v, 0.1, None)?));
        all.push(("attention with a bias", attention(&q, &k, &v, 0.1, Some(&noise(&[1, 4, 77, 300])?))?));
    }
    let picture = noise(&[2, 9, 7, 64])?;
    let (gain, offset) = (noise(&[64])?, noise(&[64])?);
    all.push(("group norm", normed_picture(&picture, (&gain, &offset))?));
    for kind in [ConvKind::Same { kernel: 1 }, ConvKind::Same { kernel: 3 }, ConvKind::Halve, ConvKind::Double] {
        let weight = noise(&[24, 64, kind.kernel(), kind.kernel()])?;
        all.push(("convolution", convolution(&picture, (&weight, &noise(&[24])?), kind)?));
    }
    Ok(all)
}

fn normed_heads(x: &Tensor, gain: &Tensor) -> Result<Tensor> {
    if let Some(y) = rms_norm(x, Some(gain), 1e-6)? {
        return Ok(y);
    }
    Ok(unit_rms(x, 1e-6)?.broadcast_mul(gain)?)
}

fn after_product(sums: &Tensor, bias: &Tensor, then: Then<'_>) -> Result<Tensor> {
    if let Some(y) = finished(sums, Some(bias), then)? {
        return Ok(y);
    }
    let y = sums.broadcast_add(bias)?;
    let y = then.activation.map_or(Ok(y.clone()), |kind| apply(&y, kind))?;
    Ok(then.times.map_or(Ok(y.clone()), |times| y * times)?)
}

fn normed_picture(x: &Tensor, (gain, offset): (&Tensor, &Tensor)) -> Result<Tensor> {
    let (groups, eps) = (8, 1e-6);
    if let Some(y) = group_norm(x, (gain, offset), groups, eps, true)? {
        return Ok(y);
    }
    let (_, height, width, _) = x.dims4()?;
    let [input, gain, offset] = [x, gain, offset].map(numbers);
    let (input, gain, offset) = (input?, gain?, offset?);
    let area = height * width;
    let shape = scumble_kernels::GroupNorm { area, groups, eps: eps as f32, gain: &gain, offset: &offset, silu: true };
    let mut output = vec![0.0; input.len()];
    scumble_kernels::group_norm(&shape, &input, &mut output);
    Ok(Tensor::from_vec(output, x.shape(), x.device())?)
}

fn convolution(x: &Tensor, (weight, bias): (&Tensor, &Tensor), kind: ConvKind) -> Result<Tensor> {
    if let Some(y) = convolved(x, (weight, bias), kind, None)? {
        return Ok(y);
    }
    let (batch, height, width, _) = x.dims4()?;
    let conv = Conv::new(kind, &numbers(weight)?, &numbers(bias)?);
    let shape = (batch, kind.side(height), kind.side(width), conv.output());
    let mut output = vec![0.0; shape.0 * shape.1 * shape.2 * shape.3];
    conv.run(&numbers(x)?, (height, width), None, &mut output);
    Ok(Tensor::from_vec(output, shape, x.device())?)
}

fn numbers(x: &Tensor) -> candle_core::Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
