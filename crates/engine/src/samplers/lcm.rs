//! Steps of latent consistency (Luo et al., 2023) for flow matching, as diffusers' `FlowMatchLCMScheduler` takes them: to
//! the clean latents, and back with fresh noise.

use candle_core::{DType, Tensor};

use super::{Sampler, Schedule, TrainedSpacing};
use crate::error::Result;
use crate::rng::Generator;
use crate::weights::Config;

/// Names of the scheduler: diffusers' and that of HiDream-I1's authors.
const CLASSES: [&str; 2] = ["FlowMatchLCMScheduler", "FlashFlowMatchEulerDiscreteScheduler"];

/// A walk down a schedule.
#[derive(Clone)]
pub struct Lcm {
    schedule: Schedule,
    next: usize,
    generator: Generator,
    drawn: Option<Tensor>,
}

impl Lcm {
    /// Whether a scheduler's class is this one.
    pub fn is_named(class: &str) -> bool {
        CLASSES.contains(&class)
    }

    /// How a checkpoint wants its noise levels spaced, from `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// Options that would change the numbers.
    pub fn spacing(config: &Config) -> Result<TrainedSpacing> {
        if let Some(value) = config.get("scale_factors") {
            return Err(config.unsupported("scale_factors", value, "none"));
        }
        TrainedSpacing::read_as(config, &CLASSES)
    }

    /// At the noisy end. The generator gives the noise of every step.
    pub fn new(schedule: Schedule, generator: Generator) -> Self {
        Self { schedule, next: 0, generator, drawn: None }
    }
}

impl Sampler for Lcm {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn place(&self) -> usize {
        self.next
    }

    /// (1 − σ₊) (x − σ v) + σ₊ noise, summed in float32. The last step draws noise too, and uses none of it.
    fn step(&mut self, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let clean = self.destination(latents, velocity)?.to_dtype(DType::F32)?;
        let there = self.schedule.sigmas[self.next + 1];
        let noise = self.generator.noise(latents.dims())?;
        let part = (noise.to_device(latents.device())? * f64::from(there))?;
        self.drawn = Some(noise);
        self.next += 1;
        Ok(((clean * f64::from(1.0 - there))? + part)?.to_dtype(latents.dtype())?)
    }

    fn drawn(&self) -> Option<&Tensor> {
        self.drawn.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_noise_of_its_own_and_the_last_is_clean() -> Result<()> {
        let schedule = Schedule { sigmas: vec![1.0, 0.25, 0.0], timesteps: vec![1000.0, 250.0] };
        let mut walk = Lcm::new(schedule, Generator::new(3));
        let mut stream = Generator::new(3);
        let noise = [stream.randn(16), stream.randn(16)];
        let one = Tensor::ones(16, DType::F32, &candle_core::Device::Cpu)?;
        let zero = one.zeros_like()?;
        let first = walk.step(&one, &zero)?.to_vec1::<f32>()?;
        assert!(first.iter().zip(&noise[0]).all(|(x, noise)| (x - (0.75 + 0.25 * noise)).abs() < 1e-6));
        assert_eq!(walk.step(&one, &zero)?.to_vec1::<f32>()?, [1.0; 16]);
        let drawn = walk.drawn().map(Tensor::to_vec1::<f32>).transpose()?;
        assert_eq!(drawn.as_ref(), Some(&noise[1]), "the last step draws too");
        Ok(())
    }
}
