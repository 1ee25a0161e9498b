//! Pictures that a call starts from, as latents.

use candle_core::{Device, Tensor};

use super::canvas::Canvas;
use crate::error::{Error, Result};
use crate::families::Context;
use crate::pixels::Pixels;
use crate::vae::Vae;

/// The picture of this field in the size that is drawn; `why` says what it is needed for.
pub(crate) fn fitted(
    name: &'static str,
    picture: Option<&Pixels>,
    canvas: Canvas,
    vae: &Vae,
    why: &str,
) -> Result<Pixels> {
    let factor = vae.config().factor();
    match picture {
        Some(picture) if picture.width > 0 && picture.height > 0 => {
            Ok(picture.resized(canvas.width * factor, canvas.height * factor))
        }
        Some(_) => Err(Error::Parameter { name, problem: "has no pixels".into() }),
        None => Err(Error::Parameter { name, problem: format!("is needed: {why}") }),
    }
}

/// A sample of what the autoencoder sees in a picture `[1, 3, height, width]`, in the model's scale: `noise` says which.
/// `number` counts the pictures of a call, for the trace.
pub(crate) fn sampled(
    vae: &Vae,
    picture: &Tensor,
    noise: &Tensor,
    device: &Device,
    number: usize,
    context: &Context<'_>,
) -> Result<Tensor> {
    let picture = picture.to_device(device)?;
    let (mean, log_variance) = vae.encode(&picture)?;
    if let Some(trace) = context.trace {
        trace.put(&format!("vae.encode.{number}.in"), &picture)?;
        trace.put(&format!("vae.encode.{number}.mean"), &mean)?;
        trace.put(&format!("vae.encode.{number}.logvar"), &log_variance)?;
    }
    let noise = noise.to_dtype(mean.dtype())?.to_device(device)?;
    vae.scale(&(mean + ((log_variance * 0.5)?.exp()? * noise)?)?)
}

/// Latents as noisy as a schedule's level says: level · noise + (1 − level) · clean, which may be one for all.
pub(crate) fn noised(clean: &Tensor, noise: &Tensor, level: f32) -> Result<Tensor> {
    let clean = clean.broadcast_as(noise.shape())?;
    Ok(((noise * f64::from(level))? + (clean * f64::from(1.0 - level))?)?)
}
