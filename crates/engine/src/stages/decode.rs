//! Latents to pictures.

use candle_core::{DType, Device, Tensor};

use super::denoise::finite;
use crate::error::{Error, Result};
use crate::families::Context;
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::vae::{Tiling, Vae};

/// Side of the latents that previews are decoded from.
const PREVIEW: usize = 16;

/// The pictures of clean latents `[images, channels, height, width]`.
pub(crate) fn decode(vae: &Vae, latents: &Tensor, context: &Context<'_>) -> Result<Vec<Pixels>> {
    decode_to(vae, latents, None, context)
}

/// The same in this width and height, where they are to be others than the latents': resized bilinearly before numbers become
/// bytes.
pub(crate) fn decode_to(
    vae: &Vae,
    latents: &Tensor,
    size: Option<(usize, usize)>,
    context: &Context<'_>,
) -> Result<Vec<Pixels>> {
    context.observer.stage(Stage::Decode).check()?;
    let z = vae.unscale(latents)?;
    let config = vae.config();
    let image = vae.decode(&z, &Tiling::for_size(config.sample_size, config.factor()))?;
    finite(&image, || "in the decoded picture".to_owned())?;
    let pixels = Pixels::from_batch(&resized(&image, size)?)?;
    if let Some(trace) = context.trace {
        trace.put("vae.decode.in", &z)?;
        trace.put("vae.decode.out", &image)?;
        trace.put("image.uint8_nhwc", &Pixels::to_tensor(&pixels)?)?;
    }
    Ok(pixels)
}

fn resized(image: &Tensor, size: Option<(usize, usize)>) -> Result<Tensor> {
    match size {
        Some((width, height)) if image.dims()[2..] != [height, width] => {
            // bytes are made there anyway
            let wide = image.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            Ok(wide.upsample_bilinear2d(height, width, false)?)
        }
        _ => Ok(image.clone()),
    }
}

/// A small picture of one entry of clean latents `[1, channels, height, width]`: pooled to a few, through the real
/// decoder.
pub(crate) fn preview(vae: &Vae, latents: &Tensor) -> Result<Pixels> {
    let (_, _, height, width) = latents.dims4()?;
    let pool = height.max(width).div_ceil(PREVIEW);
    let z = if pool > 1 && height.min(width) >= pool {
        latents.to_dtype(DType::F32)?.avg_pool2d(pool)?.to_dtype(latents.dtype())?
    } else {
        latents.clone()
    };
    let image = vae.decode(&vae.unscale(&z)?, &Tiling { above: usize::MAX, tile: 8, factor: 8 })?;
    Pixels::from_batch(&image)?.pop().ok_or(Error::Cancelled)
}
