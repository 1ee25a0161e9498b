//! Heads of attention.

use candle_core::{DType, Tensor};

use super::kernels::NORM_ROTATE;
use super::launch::{Arg, Grid, Numbers, int, launch, long, maybe, written};
use super::rows::dense;
use super::takes;
use crate::error::Result;

/// Heads that a block of threads works on: a warp each.
const HEADS: usize = 4;
/// The widest head that a warp holds in registers.
const WIDEST: usize = 256;

/// RMS norm of each head where there is a gain `[width]`, then, where there are angles, neighbouring pairs turned by them:
/// `cos` and `sin`, each `[tokens, width / 2]`, float32. `x` is `[batch, heads, tokens, width]`, its heads side by side in memory
/// or not; those of what comes out are.
pub(in crate::nn) fn normed_and_turned(
    x: &Tensor,
    gain: Option<(&Tensor, f64)>,
    angles: Option<(&Tensor, &Tensor)>,
) -> Result<Option<Tensor>> {
    let (batch, heads, tokens, width) = x.dims4()?;
    let fits = width.is_multiple_of(2)
        && width <= WIDEST
        && gain.is_none_or(|(gain, _)| gain.elem_count() == width)
        && angles.is_none_or(|(cos, sin)| [cos, sin].iter().all(|t| t.elem_count() == tokens * width / 2));
    if !takes(x) || !fits {
        return Ok(None);
    }
    // [batch, tokens, heads, width]
    let x = x.transpose(1, 2)?;
    let side_by_side = matches!(x.stride(), [_, _, head, 1] if *head == width);
    let x = if side_by_side { x } else { x.contiguous()? };
    let (apart, eps) = (x.stride().to_vec(), gain.map_or(0.0, |(_, eps)| eps));
    let gain = gain.map(|(gain, _)| dense(gain)).transpose()?;
    let wide = |t: &Tensor| t.to_dtype(DType::F32)?.contiguous();
    let (cos, sin) = (angles.map(|(cos, _)| wide(cos)).transpose()?, angles.map(|(_, sin)| wide(sin)).transpose()?);
    let numbers = Numbers::of(&x);
    let [gain, cos, sin] = [&gain, &cos, &sin].map(|t| t.as_ref().map(Numbers::of));
    let y = written(&x, DType::BF16, x.shape(), |card, y| {
        let (gain, cos, sin) = (maybe(gain.as_ref())?, maybe(cos.as_ref())?, maybe(sin.as_ref())?);
        let (first, norm) = (numbers.at()?, [gain, Arg::Float(eps as f32)]);
        let sizes = [long(tokens), int(heads)?, int(width)?, long(apart[1]), long(apart[0])];
        let args: Vec<Arg> = [first].into_iter().chain(norm).chain([cos, sin, y]).chain(sizes).collect();
        let grid = Grid { blocks: [(tokens * heads).div_ceil(HEADS), batch, 1], threads: 32 * HEADS as u32 };
        launch(card, &NORM_ROTATE, grid, &args)
    })?;
    Ok(Some(y.transpose(1, 2)?))
}
