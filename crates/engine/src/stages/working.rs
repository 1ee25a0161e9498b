//! What a call takes beside the weights, known before it is drawn.

use candle_core::DType;

use super::Canvas;
use crate::vae::{Tiling, Vae};

/// Numbers that a block of a transformer holds at once for each number of a token: queries, keys and values, and what the
/// feed-forward makes of them.
const HELD: u64 = 12;

/// Bytes that drawing takes at the least: in a step, or while the picture is decoded, whichever is more. `passes` says how many
/// passes of one picture are in one batch. What is small beside these is not counted.
pub(crate) fn working(canvas: Canvas, width: usize, passes: usize, dtype: DType, vae: &Vae) -> u64 {
    let number = dtype.size_in_bytes() as u64;
    let tokens = (canvas.images * passes * canvas.height * canvas.width / 4) as u64;
    let step = tokens * width as u64 * HELD * number;
    step.max(decoding(canvas, number, vae))
}

/// One picture after the other is decoded; the most is held where the last level but one is doubled and convolved.
fn decoding(canvas: Canvas, number: u64, vae: &Vae) -> u64 {
    let Canvas { height, width, images, .. } = canvas;
    let config = vae.config();
    let tiling = Tiling::for_size(config.sample_size, config.factor());
    let latents = match tiling.applies(height, width) {
        true => tiling.tile.min(height) * tiling.tile.min(width),
        false => height * width,
    };
    let pixels = |latents: usize| (latents * config.factor() * config.factor()) as u64;
    let channels = config.channels.get(1).or(config.channels.first()).copied().unwrap_or_default() as u64;
    let finished = pixels(height * width) * (images * config.image_channels) as u64 * number;
    pixels(latents) * 2 * channels * number + finished
}
