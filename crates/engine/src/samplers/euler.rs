//! Euler steps of flow matching (Esser et al., 2024), as diffusers' `FlowMatchEulerDiscreteScheduler` takes them.

use candle_core::{DType, Tensor};

use super::{Sampler, Schedule, scaled};
use crate::error::Result;

/// A walk down a schedule, one step at a time.
#[derive(Clone, Debug)]
pub struct Euler {
    schedule: Schedule,
    /// The step that comes next.
    next: usize,
}

impl Euler {
    /// At the noisy end.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, next: 0 }
    }

    /// Where a picture that is changed by this share joins the walk, as diffusers counts: so many of the last steps are
    /// taken, at least one.
    #[must_use]
    pub fn joined(self, strength: f64) -> Self {
        let steps = self.schedule.timesteps.len() as f64;
        Self { next: (steps - (steps * strength).min(steps)).max(0.0) as usize, ..self }
    }

    /// The noise level where the next step starts; 0 at the end.
    pub fn level(&self) -> f32 {
        self.schedule.sigmas[self.next]
    }
}

impl Sampler for Euler {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn place(&self) -> usize {
        self.next
    }

    /// x + (σ₊ − σ) v, summed in float32, rounded to the type of `latents`. The product is rounded to the type of the
    /// model first, as the reference does.
    fn step(&mut self, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let [here, there] = [self.schedule.sigmas[self.next], self.schedule.sigmas[self.next + 1]];
        let change = scaled(velocity, there - here)?.to_dtype(DType::F32)?;
        self.next += 1;
        Ok((latents.to_dtype(DType::F32)? + change)?.to_dtype(latents.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reduced_type_does_not_round_the_step() -> Result<()> {
        let mut walk = Euler::new(Schedule { sigmas: vec![1.0, 0.7492, 0.0], timesteps: vec![1000.0, 749.2] });
        let zero = Tensor::zeros(1, DType::BF16, &candle_core::Device::Cpu)?;
        let velocity = (zero.ones_like()? * 100.0)?;
        let got = walk.step(&zero, &velocity)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        // −25.08 to eight bits; a step of −0.2508 rounded first would give −25
        assert_eq!(got, [-25.125]);
        Ok(())
    }

    #[test]
    fn less_strength_takes_fewer_steps() {
        let walk = || Euler::new(Schedule { sigmas: vec![1.0, 0.75, 0.5, 0.25, 0.0], timesteps: vec![0.0; 4] });
        let at = |strength| walk().joined(strength).level();
        assert_eq!([at(1.0), at(0.99), at(0.75), at(0.3), at(0.25)], [1.0, 1.0, 0.75, 0.5, 0.25]);
    }

    #[test]
    fn each_step_goes_on_where_the_last_one_ended() -> Result<()> {
        let mut walk = Euler::new(Schedule { sigmas: vec![1.0, 0.5, 0.0], timesteps: vec![1000.0, 500.0] });
        let one = Tensor::ones(1, DType::F32, &candle_core::Device::Cpu)?;
        assert_eq!(walk.now(), Some((0, 1000.0)));
        assert_eq!(walk.destination(&one, &one)?.to_vec1::<f32>()?, [0.0]);
        assert_eq!(walk.step(&one, &one)?.to_vec1::<f32>()?, [0.5]);
        assert_eq!(walk.now(), Some((1, 500.0)));
        assert_eq!(walk.destination(&one, &one)?.to_vec1::<f32>()?, [0.5]);
        assert_eq!(walk.step(&one, &one)?.to_vec1::<f32>()?, [0.5]);
        assert_eq!(walk.now(), None);
        Ok(())
    }
}
