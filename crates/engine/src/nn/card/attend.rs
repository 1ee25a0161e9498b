//! Attention that never holds all scores.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaFunction;
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, DType, Tensor};

use super::kernels::{ATTENTION_BIAS_TAKES, ATTENTION_TAKES, Attention};
use super::launch::{Arg, Grid, Numbers, int, start, written};
use super::takes;
use crate::error::Result;

/// Strides are whole numbers of these many numbers, and so are places of first numbers: 16 bytes.
const STEP: usize = 8;

/// softmax(q kᵀ · scale + bias) v over `[batch, heads, tokens, width]`, for widths and cards that have a kernel; keys and values
/// may have fewer heads. What comes out lies as `[batch, tokens, heads, width]`.
pub(in crate::nn) fn attended(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    bias: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let (batch, heads, queries, width) = q.dims4()?;
    let (_, shared, keys, _) = k.dims4()?;
    if !takes(q) || q.elem_count() == 0 {
        return Ok(None);
    }
    let device = q.device().as_cuda_device()?;
    let capability = device.cuda_stream().context().compute_capability().w()?;
    let Some(kernel) = Attention::of(capability, width, bias.is_some()) else { return Ok(None) };
    let (q, k, v) = (steady(q)?, steady(k)?, steady(v)?);
    let bias = bias.map(|bias| spread(bias, &[batch, heads, queries, keys])).transpose()?;
    let takes = if bias.is_some() { ATTENTION_BIAS_TAKES } else { ATTENTION_TAKES };
    let held = [Some(&q), Some(&k), Some(&v), bias.as_ref()].map(|t| t.map(|t| (t, Numbers::of(t))));
    let y = written(&q, DType::BF16, (batch, queries, heads, width), |card, y| {
        let mut args = Vec::new();
        for (tensor, numbers) in held.iter().flatten() {
            push(&mut args, numbers.at()?, tensor.dims(), tensor.stride())?;
        }
        let apart = [queries * heads * width, width, heads * width, 1];
        push(&mut args, y, &[batch, heads, queries, width], &apart)?;
        args.extend([Arg::Float(scale as f32), int(heads / shared)?]);
        let grid = Grid { blocks: [queries.div_ceil(kernel.queries), heads, batch], threads: 1 };
        start(&card.cuda_stream(), &loaded(card, kernel)?, (kernel.name, takes), grid, &args)
    })?;
    Ok(Some(y.transpose(1, 2)?))
}

/// A tensor as the kernel takes it: its address, its lengths, its strides.
fn push(args: &mut Vec<Arg>, at: Arg, lengths: &[usize], strides: &[usize]) -> candle_core::Result<()> {
    args.push(at);
    for length in lengths {
        args.push(int(*length)?);
    }
    for (length, stride) in lengths.iter().zip(strides) {
        // where there is one, nobody takes a step
        args.push(int(if *length == 1 { STEP } else { *stride })?);
    }
    // the last dimension's are promised to lie side by side
    if let Some(last) = args.last_mut() {
        *last = Arg::Int(1);
    }
    Ok(())
}

/// In bfloat16, numbers of a head side by side and everything else in steps that the kernel can take: as it is, or copied.
fn steady(x: &Tensor) -> candle_core::Result<Tensor> {
    let x = x.to_dtype(DType::BF16)?;
    let (strides, lengths, first) = (x.stride(), x.dims(), x.layout().start_offset());
    let is_step = |(stride, length): (&usize, &usize)| *length == 1 || (*stride > 0 && stride.is_multiple_of(STEP));
    let is_steady = strides[3] == 1 && first.is_multiple_of(STEP) && strides[..3].iter().zip(lengths).all(is_step);
    if is_steady { Ok(x) } else { x.contiguous() }
}

/// A bias in float32, broadcast to the scores without being copied, its last dimension side by side.
fn spread(bias: &Tensor, scores: &[usize]) -> Result<Tensor> {
    let bias = bias.to_dtype(DType::F32)?;
    let keys = scores[3];
    let bias =
        if bias.dim(3)? == keys { bias } else { bias.broadcast_as((bias.dim(0)?, bias.dim(1)?, bias.dim(2)?, keys))? };
    let bias = if bias.stride()[3] == 1 || keys == 1 { bias } else { bias.contiguous()? };
    Ok(bias.broadcast_as(scores)?)
}

/// The kernel on a card, loaded at its first use.
fn loaded(device: &CudaDevice, kernel: &'static Attention) -> candle_core::Result<CudaFunction> {
    static LOADED: Mutex<Option<HashMap<(usize, &'static str), CudaFunction>>> = Mutex::new(None);
    let stream = device.cuda_stream();
    let context = stream.context();
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.get_or_insert_default();
    let key = (context.ordinal(), kernel.name);
    if let Some(function) = loaded.get(&key) {
        return Ok(function.clone());
    }
    let module = context.load_module(Ptx::from_binary(kernel.code.to_vec())).w()?;
    let function = module.load_function(kernel.name).w()?;
    loaded.insert(key, function.clone());
    Ok(function)
}
