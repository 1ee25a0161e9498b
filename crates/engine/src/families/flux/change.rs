//! Image to image: a picture changed as far as `strength` says, as diffusers' `FluxImg2ImgPipeline` does it.

use candle_core::Tensor;

use super::Flux;
use crate::call::Call;
use crate::error::Result;
use crate::families::Context;
use crate::pixels::Pixels;
use crate::rng::Generator;
use crate::samplers::{Euler, Sampler};
use crate::stages::{self, Canvas};

impl Flux {
    /// The picture's latents, as noisy as the sampler's first level. Two draws from one generator, in this order: for the
    /// picture's latents, the noise.
    pub(super) fn change_start(
        &self,
        picture: &Pixels,
        canvas: Canvas,
        sampler: &Euler,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Tensor> {
        let why = "this model changes a picture";
        let picture = stages::fitted("image_url", Some(picture), canvas, &self.vae, why)?.to_unit()?;
        let mut generator = Generator::new(call.seed);
        let for_picture = generator.noise(&[1, canvas.channels, canvas.height, canvas.width])?;
        let noise = generator.noise(&[canvas.images, canvas.channels, canvas.height, canvas.width])?;
        stages::begin(context, &for_picture, sampler.schedule())?;
        let clean = self.sampled(&picture, &for_picture, 0, context)?;
        stages::noised(&clean, &noise.to_dtype(self.dtype)?.to_device(&self.device)?, sampler.level())
    }
}
