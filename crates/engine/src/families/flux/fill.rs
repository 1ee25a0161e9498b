//! FLUX.1 Fill: part of a picture drawn anew, as diffusers' `FluxFillPipeline` does it.

use candle_core::Tensor;

use super::Flux;
use crate::call::Call;
use crate::error::Result;
use crate::families::Context;
use crate::pixels::Pixels;
use crate::rng::Generator;
use crate::samplers::{Euler, Sampler};
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
        let own = |t: &Tensor| -> Result<Tensor> { Ok(t.to_dtype(self.dtype)?.to_device(&self.device)?) };
        let level = sampler.level();
        let latents = if level < 1.0 {
            let clean = self.sampled(&picture, &for_picture, 0, context)?;
            stages::noised(&clean, &own(&noise)?, level)?
        } else {
            own(&noise)?
        };
        let kept = picture.broadcast_mul(&(1.0 - &mask)?)?;
        let kept = pack(&self.sampled(&kept, &for_kept, 1, context)?)?;
        let condition = Tensor::cat(&[kept, pack(&own(&self.mask_channels(&mask, canvas)?)?)?], 2)?;
        Ok(Start { latents, condition: condition.repeat((canvas.images, 1, 1))? })
    }

    /// Picture and mask in the size that is drawn.
    fn given(&self, canvas: Canvas, call: &Call) -> Result<(Tensor, Tensor)> {
        let fitted = |name, picture: &Option<Pixels>| {
            stages::fitted(name, picture.as_ref(), canvas, &self.vae, "this model fills a part of a picture")
        };
        Ok((fitted("image_url", &call.picture)?.to_unit()?, fitted("mask_url", &call.mask)?.to_mask()?))
    }

    /// In the type of latents.
    pub(super) fn sampled(
        &self,
        picture: &Tensor,
        noise: &Tensor,
        number: usize,
        context: &Context<'_>,
    ) -> Result<Tensor> {
        let latents = stages::sampled(&self.vae, picture, noise, &self.device, number, context)?;
        Ok(latents.to_dtype(self.dtype)?)
    }

    /// The pixels of a mask that a latent covers, as its channels: `[1, factor², h, w]`.
    fn mask_channels(&self, mask: &Tensor, canvas: Canvas) -> Result<Tensor> {
        let (factor, Canvas { height, width, .. }) = (self.vae.config().factor(), canvas);
        let cells = mask.reshape((height, factor, width, factor))?.permute(vec![1, 3, 0, 2])?;
        Ok(cells.reshape((1, factor * factor, height, width))?)
    }
}
