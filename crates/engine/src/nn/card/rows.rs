//! Norms, and what follows a product.

use candle_core::{D, DType, Tensor};

use super::super::Activation;
use super::super::then::Then;
use super::heads::normed_and_turned;
use super::kernels::{FINISH_SUMS, LAYER_NORM, RMS_NORM};
use super::launch::{Arg, Grid, Numbers, launch, long, maybe, written};
use super::takes;
use crate::error::Result;

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks that sum a row each: eight numbers a thread, in whole warps.
fn by_rows(rows: usize, width: usize) -> Grid {
    let threads = width.div_ceil(8).next_multiple_of(32).clamp(32, THREADS as usize);
    Grid::line(rows, threads as u32)
}

/// (x − mean) / √(variance + eps) · (gain + `more`) + offset over the last dimension; `gain` and `offset` are `[width]`, or
/// `[batch, width]` for an `x` of `[batch, tokens, width]`.
pub(in crate::nn) fn layer_norm(
    x: &Tensor,
    (gain, more): (Option<&Tensor>, i32),
    offset: Option<&Tensor>,
    eps: f64,
) -> Result<Option<Tensor>> {
    if !takes(x) {
        return Ok(None);
    }
    let (rows, width) = rows_of(x)?;
    let (x, gain, offset) = (dense(x)?, gain.map(dense).transpose()?, offset.map(dense).transpose()?);
    let sets = [&gain, &offset].into_iter().flatten().map(Tensor::elem_count).max().unwrap_or(width) / width.max(1);
    let fits = [&gain, &offset].into_iter().flatten().all(|t| t.elem_count() == sets * width);
    if !fits || sets == 0 || !rows.is_multiple_of(sets) {
        return Ok(None);
    }
    let (numbers, gain, offset) = (Numbers::of(&x), gain.as_ref().map(Numbers::of), offset.as_ref().map(Numbers::of));
    Ok(Some(written(&x, DType::BF16, x.shape(), |card, y| {
        let (gain, offset) = (maybe(gain.as_ref())?, maybe(offset.as_ref())?);
        let lengths = (long(width), long(rows / sets));
        let args = [numbers.at()?, gain, offset, y, lengths.0, lengths.1, Arg::Float(eps as f32), Arg::Int(more)];
        launch(card, &LAYER_NORM, by_rows(rows, width), &args)
    })?))
}

/// x / √(mean of squares + eps) · gain over the last dimension.
pub(in crate::nn) fn rms_norm(x: &Tensor, gain: Option<&Tensor>, eps: f64) -> Result<Option<Tensor>> {
    // heads stay where they are
    if let (4, Some(gain)) = (x.rank(), gain)
        && let Some(y) = normed_and_turned(x, Some((gain, eps)), None)?
    {
        return Ok(Some(y));
    }
    let (rows, width) = rows_of(x)?;
    if !takes(x) || gain.is_some_and(|gain| gain.elem_count() != width) {
        return Ok(None);
    }
    let (x, gain) = (dense(x)?, gain.map(dense).transpose()?);
    let (numbers, gain) = (Numbers::of(&x), gain.as_ref().map(Numbers::of));
    Ok(Some(written(&x, DType::BF16, x.shape(), |card, y| {
        let args = [numbers.at()?, maybe(gain.as_ref())?, y, long(width), Arg::Float(eps as f32)];
        launch(card, &RMS_NORM, by_rows(rows, width), &args)
    })?))
}

/// What becomes of sums `[.., width]` with a bias `[width]` and what follows it.
pub(in crate::nn) fn finished(sums: &Tensor, bias: Option<&Tensor>, then: Then<'_>) -> Result<Option<Tensor>> {
    let (rows, width) = rows_of(sums)?;
    let (onto, gate) = then.onto.map_or((None, None), |(onto, gate)| (Some(onto), gate));
    let whole = |t: Option<&Tensor>| t.is_none_or(|t| t.elem_count() == rows * width);
    let gates = gate.map_or(1, |gate| gate.elem_count() / width.max(1));
    let fits = whole(then.times)
        && whole(onto)
        && bias.is_none_or(|bias| bias.elem_count() == width)
        && gate.is_none_or(|gate| gates > 0 && gate.elem_count() == gates * width && rows.is_multiple_of(gates));
    if !takes(sums) || !fits {
        return Ok(None);
    }
    let sums = dense(sums)?;
    let [bias, times, onto, gate] = [bias, then.times, onto, gate].map(|t| t.map(dense).transpose());
    let others = [bias?, times?, onto?, gate?];
    let others = others.each_ref().map(|t| t.as_ref().map(Numbers::of));
    let numbers = Numbers::of(&sums);
    Ok(Some(written(&sums, DType::BF16, sums.shape(), |card, y| {
        let [bias, times, onto, gate] = others.each_ref().map(|t| maybe(t.as_ref()));
        let kind = Arg::Int(code(then.activation));
        let lengths = [long(rows), long(width), long(rows / gates)];
        let args = [numbers.at()?, bias?, kind, times?, onto?, gate?, y, lengths[0], lengths[1], lengths[2]];
        // eight numbers a thread; the kernel goes on from there where blocks would be too many
        let blocks = sums.elem_count().div_ceil(THREADS as usize * 8).clamp(1, MOST_BLOCKS);
        launch(card, &FINISH_SUMS, Grid::line(blocks, THREADS), &args)
    })?))
}

/// Blocks that keep the largest card busy.
const MOST_BLOCKS: usize = 1 << 14;

/// How the kernel numbers activations.
fn code(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::Silu) => 1,
        Some(Activation::QuickGelu) => 2,
        Some(Activation::GeluTanh) => 3,
        Some(Activation::Gelu) => 4,
    }
}

/// How many rows the last dimension makes, and its length.
fn rows_of(x: &Tensor) -> Result<(usize, usize)> {
    let width = x.dim(D::Minus1)?;
    Ok((x.elem_count() / width.max(1), width))
}

/// In bfloat16, numbers in order.
pub(super) fn dense(x: &Tensor) -> candle_core::Result<Tensor> {
    x.to_dtype(DType::BF16)?.contiguous()
}
