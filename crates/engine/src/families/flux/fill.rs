//! FLUX.1 Fill: part of a picture drawn anew, as diffusers' `FluxFillPipeline` does it.

use candle_core::Tensor;

use super::Flux;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::families::Context;
use crate::pixels::Pixels;
use crate::rng::Generator;
use crate::samplers::Euler;
use crate::stages::{self, Canvas, pack};

/// Where a fill starts from.
pub(super) struct Start {
    /// `[images, channels, h, w]`, as noisy as the sampler's first level.
    pub(super) latents: Tensor,
    /// Goes in beside the latents at every step, `[images, tokens, features]`: the kept part of the picture, and the mask.
    pub(super) condition: Tensor,
}

impl Flux {
    /// Three draws from one generator, in this order whether needed or not: for the picture's latents, the noise, for those
    /// of its kept part.
    pub(super) fn fill_start(
        &self,
        canvas: Canvas,
        sampler: &Euler,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Start> {
        let (picture, mask) = self.given(canvas, call)?;
        let one = [1, canvas.channels, canvas.height, canvas.width];
        let mut generator = Generator::new(call.seed);
        let for_picture = generator.noise(&one)?;
        let noise = generator.noise(&[canvas.images, canvas.channels, canvas.height, canvas.width])?;
        let for_kept = generator.noise(&one)?;
        stages::begin(context, &for_picture, sampler.schedule())?;
        let level = sampler.level();
        let own = |t: &Tensor| -> Result<Tensor> { Ok(t.to_dtype(self.dtype)?.to_device(&self.device)?) };
        let latents = if level < 1.0 {
            let clean = self.encode_picture(&picture, &for_picture, 0, context)?.broadcast_as(noise.shape())?;
            ((own(&noise)? * f64::from(level))? + (clean * f64::from(1.0 - level))?)?
        } else {
            own(&noise)?
        };
        let kept = picture.broadcast_mul(&(1.0 - &mask)?)?;
        let kept = pack(&self.encode_picture(&kept, &for_kept, 1, context)?)?;
        let condition = Tensor::cat(&[kept, pack(&own(&self.mask_channels(&mask, canvas)?)?)?], 2)?;
        Ok(Start { latents, condition: condition.repeat((canvas.images, 1, 1))? })
    }

    /// Picture and mask in the size that is drawn.
    fn given(&self, canvas: Canvas, call: &Call) -> Result<(Tensor, Tensor)> {
        let factor = self.vae.config().factor();
        let fitted = |name, picture: &Option<Pixels>| match picture {
            Some(picture) if picture.width > 0 && picture.height > 0 => {
                Ok(picture.resized(canvas.width * factor, canvas.height * factor))
            }
            Some(_) => Err(Error::Parameter { name, problem: "has no pixels".into() }),
            None => Err(Error::Parameter { name, problem: "is needed: this model fills a part of a picture".into() }),
        };
        Ok((fitted("image_url", &call.picture)?.to_unit()?, fitted("mask_url", &call.mask)?.to_mask()?))
    }

    /// A sample of what the autoencoder sees in a picture, in the model's scale. `number` counts pictures for the trace.
    fn encode_picture(&self, picture: &Tensor, noise: &Tensor, number: usize, context: &Context<'_>) -> Result<Tensor> {
        let picture = picture.to_device(&self.device)?;
        let (mean, log_variance) = self.vae.encode(&picture)?;
        if let Some(trace) = context.trace {
            trace.put(&format!("vae.encode.{number}.in"), &picture)?;
            trace.put(&format!("vae.encode.{number}.mean"), &mean)?;
            trace.put(&format!("vae.encode.{number}.logvar"), &log_variance)?;
        }
        let noise = noise.to_dtype(mean.dtype())?.to_device(&self.device)?;
        let sample = (mean + ((log_variance * 0.5)?.exp()? * noise)?)?;
        Ok(self.vae.scale(&sample)?.to_dtype(self.dtype)?)
    }

    /// The pixels of a mask that a latent covers, as its channels: `[1, factor², h, w]`.
    fn mask_channels(&self, mask: &Tensor, canvas: Canvas) -> Result<Tensor> {
        let (factor, Canvas { height, width, .. }) = (self.vae.config().factor(), canvas);
        let cells = mask.reshape((height, factor, width, factor))?.permute(vec![1, 3, 0, 2])?;
        Ok(cells.reshape((1, factor * factor, height, width))?)
    }
}
