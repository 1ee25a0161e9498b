//! Pictures whose channels lie together: group norm and convolutions.

use candle_core::{DType, Tensor};
use scumble_kernels::ConvKind;

use super::super::then::Then;
use super::kernels::{GROUP_NORM_APPLY, GROUP_NORM_JOIN, GROUP_NORM_SUMS, PATCHES_OF};
use super::launch::{Arg, Grid, Numbers, int, launch, long, maybe, written};
use super::rows::{dense, finished};
use super::takes;
use crate::error::Result;

/// Threads of a block.
const THREADS: u32 = 256;
/// Numbers that a block sums, and slices of a picture at most.
const SLICE: usize = 1 << 14;
const SLICES: usize = 512;
/// Blocks that keep the largest card busy.
const BLOCKS: usize = 1 << 12;
/// Numbers of the rows that a convolution's product reads at once: 256 MB.
const PATCHES: usize = 1 << 27;

/// Group norm over `[batch, height, width, channels]`, with SiLU after it where asked for.
pub(in crate::nn) fn group_norm(
    x: &Tensor,
    (gain, offset): (&Tensor, &Tensor),
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Option<Tensor>> {
    let (batch, height, width, channels) = x.dims4()?;
    let fits =
        groups > 0 && channels.is_multiple_of(groups) && [gain, offset].iter().all(|t| t.elem_count() == channels);
    if !takes(x) || !fits || x.elem_count() == 0 {
        return Ok(None);
    }
    let (area, x, gain, offset) = (height * width, dense(x)?, dense(gain)?, dense(offset)?);
    let slices = (area * channels).div_ceil(SLICE).clamp(1, SLICES);
    let (numbers, gain, offset) = (Numbers::of(&x), Numbers::of(&gain), Numbers::of(&offset));
    let parts = written(&x, DType::F32, (batch, groups, slices, 2), |card, parts| {
        let args = [numbers.at()?, parts, long(area), int(channels)?, int(groups)?];
        launch(card, &GROUP_NORM_SUMS, Grid { blocks: [slices, 1, batch], threads: THREADS }, &args)
    })?;
    let parts = Numbers::of(&parts);
    let moments = written(&x, DType::F32, (batch, groups, 2), |card, moments| {
        let size = int(channels / groups)?;
        let args = [parts.at()?, moments, long(area), size, int(slices)?, Arg::Float(eps as f32)];
        launch(card, &GROUP_NORM_JOIN, Grid::line(batch * groups, 32), &args)
    })?;
    let moments = Numbers::of(&moments);
    Ok(Some(written(&x, DType::BF16, x.shape(), |card, y| {
        let (gain, offset) = (maybe(Some(&gain))?, maybe(Some(&offset))?);
        let sizes = [long(area), int(channels)?, int(groups)?, Arg::Int(silu.into())];
        let args = [numbers.at()?, gain, offset, moments.at()?, y, sizes[0], sizes[1], sizes[2], sizes[3]];
        let blocks = [(area * channels).div_ceil(THREADS as usize * 8).clamp(1, BLOCKS), batch, 1];
        launch(card, &GROUP_NORM_APPLY, Grid { blocks, threads: THREADS }, &args)
    })?))
}

/// A convolution of `[batch, height, width, input]` with `weight` `[output, input, kernel, kernel]` and `bias` `[output]`, and
/// `onto` added where there is one. It is a product of rows of patches, some rows of the picture at a time.
pub(in crate::nn) fn convolved(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    kind: ConvKind,
    onto: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let (batch, height, width, input) = x.dims4()?;
    let (output, channels, kernel, _) = weight.dims4()?;
    let (rows, columns) = (kind.side(height), kind.side(width));
    let Some(code) = code(kind) else { return Ok(None) };
    if !takes(x) || channels != input || rows * columns * batch == 0 {
        return Ok(None);
    }
    let (x, weight) = (dense(x)?, in_order_of_patches(weight)?);
    let then = |from: usize, count: usize| -> Result<Option<Tensor>> {
        let onto = onto.map(|onto| onto.reshape((batch * rows, columns * output))?.narrow(0, from, count));
        Ok(onto.transpose()?.map(|onto| onto.reshape((count * columns, output))).transpose()?)
    };
    let each = columns * kernel * kernel * input;
    let band = (PATCHES / each).clamp(1, batch * rows);
    let numbers = Numbers::of(&x);
    let mut bands = Vec::new();
    for first in (0..batch * rows).step_by(band) {
        let count = band.min(batch * rows - first);
        let patches = match kernel {
            1 => x
                .reshape((batch * rows, columns * input))?
                .narrow(0, first, count)?
                .reshape((count * columns, input))?,
            _ => written(&x, DType::BF16, (count * columns, 9 * input), |card, y| {
                let sizes = [long(height), long(width), int(input)?, Arg::Int(code), long(first), long(count)];
                let args = [numbers.at()?, y, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]];
                // a warp for each place
                let blocks = (count * columns).div_ceil(THREADS as usize / 32).clamp(1, BLOCKS);
                launch(card, &PATCHES_OF, Grid::line(blocks, THREADS), &args)
            })?,
        };
        let sums = patches.matmul(&weight.t()?)?;
        let onto = then(first, count)?;
        let ends = Then { onto: onto.as_ref().map(|onto| (onto, None)), ..Then::default() };
        let Some(finished) = finished(&sums, Some(bias), ends)? else { return Ok(None) };
        bands.push(finished);
    }
    let all = if bands.len() == 1 { bands.swap_remove(0) } else { Tensor::cat(&bands, 0)? };
    Ok(Some(all.reshape((batch, rows, columns, output))?))
}

/// `[output, input, kernel, kernel]` as the rows that patches are multiplied with: `[output, kernel · kernel · input]`.
fn in_order_of_patches(weight: &Tensor) -> Result<Tensor> {
    let (output, input, kernel, _) = weight.dims4()?;
    Ok(dense(&weight.permute((0, 2, 3, 1))?)?.reshape((output, kernel * kernel * input))?)
}

/// How the kernel numbers convolutions; nothing for those that it does not know.
fn code(kind: ConvKind) -> Option<i32> {
    match kind {
        ConvKind::Same { kernel: 1 | 3 } => Some(0),
        ConvKind::Same { .. } => None,
        ConvKind::Halve => Some(1),
        ConvKind::Double => Some(2),
    }
}
