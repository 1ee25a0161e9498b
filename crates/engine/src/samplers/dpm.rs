//! DPM-Solver++ (Lu et al., 2022) of order 2 for flow matching, with the midpoint rule, as OmniGen2's authors take its
//! steps.

use candle_core::{DType, Tensor};

use super::leap::predicted;
use super::{Sampler, Schedule};
use crate::error::Result;

/// A walk down a schedule, which may begin at a level of 1. Everything is computed in float32; latents are rounded to their
/// type after each step.
#[derive(Clone, Debug)]
pub struct DpmSolver {
    schedule: Schedule,
    next: usize,
    /// What the last step took for clean.
    before: Option<Tensor>,
}

impl DpmSolver {
    /// At the noisy end.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, next: 0, before: None }
    }
}

impl Sampler for DpmSolver {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn place(&self) -> usize {
        self.next
    }

    /// The last step is of order 1: it ends at what it takes for clean.
    fn step(&mut self, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let wide = latents.to_dtype(DType::F32)?;
        let clean = self.destination(&wide, &velocity.to_dtype(DType::F32)?)?;
        let is_last = self.next + 1 == self.schedule.timesteps.len();
        let before = self.before.take().filter(|_| !is_last);
        let there = predicted(&self.schedule.sigmas, self.next, &wide, &clean, before.as_ref())?;
        self.before = Some(clean);
        self.next += 1;
        Ok(there.to_dtype(latents.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(sigmas: &[f32]) -> DpmSolver {
        let steps = sigmas.len() - 1;
        DpmSolver::new(Schedule { sigmas: sigmas.to_vec(), timesteps: vec![0.0; steps] })
    }

    fn one(x: f32) -> Result<Tensor> {
        Ok(Tensor::new(&[x], &candle_core::Device::Cpu)?)
    }

    /// Logarithms of the first and the last level are infinite; no number of a picture is.
    #[test]
    fn a_constant_estimate_is_reached_from_pure_noise() -> Result<()> {
        for sigmas in [&[1.0, 0.0][..], &[1.0, 0.5, 0.0], &[1.0, 0.9, 0.6, 0.2, 0.0]] {
            let mut walk = walk(sigmas);
            let (clean, mut x) = (one(-2.0)?, one(3.0)?);
            while let Some((place, _)) = walk.now() {
                let velocity = ((&x - &clean)? / f64::from(sigmas[place]))?;
                x = walk.step(&x, &velocity)?;
                assert!(x.to_vec1::<f32>()?[0].is_finite());
            }
            assert!((x.to_vec1::<f32>()?[0] + 2.0).abs() < 1e-6, "{sigmas:?}");
        }
        Ok(())
    }

    /// By hand, with levels whose logarithms are an even distance apart: 4/5, 1/2, 1/5 are ln 4 from each other.
    #[test]
    fn a_step_is_bent_by_how_the_estimate_moved() -> Result<()> {
        let mut walk = walk(&[0.8, 0.5, 0.2, 0.0]);
        // the velocity that points to 1 from 0 at 4/5
        let x = walk.step(&one(0.0)?, &one(-1.25)?)?;
        // 5/8 · 0 + (1/2 − 1/5 · 5/8) · 1
        assert!((x.to_vec1::<f32>()?[0] - 0.375).abs() < 1e-6);
        // now it points to 2: 2/5 · 3/8 + (4/5 − 1/2 · 2/5) · (2 + 1/2 · (2 − 1))
        let x = walk.step(&x, &one((0.375 - 2.0) / 0.5)?)?;
        assert!((x.to_vec1::<f32>()?[0] - (0.15 + 0.6 * 2.5)).abs() < 1e-5);
        Ok(())
    }
}
