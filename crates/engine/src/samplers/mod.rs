//! Noise levels and the way down: how levels are spaced, and the solvers that go from one to the next.

mod dpm;
mod euler;
mod lcm;
mod leap;
mod rising;
mod spacing;
mod unipc;

use candle_core::{DType, Tensor};

pub use dpm::DpmSolver;
pub use euler::Euler;
pub use lcm::Lcm;
pub use rising::RisingSpacing;
pub use spacing::{FlowSpacing, Schedule, TrainedSpacing};
pub use unipc::{UniPc, UniPcSpacing};

use crate::error::Result;

/// A walk down a schedule, one step at a time.
pub trait Sampler {
    /// The levels.
    fn schedule(&self) -> &Schedule;

    /// The step that comes next, counted from 0; the number of steps at the end.
    fn place(&self) -> usize;

    /// The latents after the next step, in their type, from the velocity at it: noise − data.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn step(&mut self, latents: &Tensor, velocity: &Tensor) -> Result<Tensor>;

    /// The noise that the last step added, where it did.
    fn drawn(&self) -> Option<&Tensor> {
        None
    }

    /// The next step and its timestep; none at the end.
    fn now(&self) -> Option<(usize, f32)> {
        Some((self.place(), *self.schedule().timesteps.get(self.place())?))
    }

    /// The clean latents that the velocity at the next step points to: x − σ v.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn destination(&self, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        Ok((latents - scaled(velocity, self.schedule().sigmas[self.place()])?)?)
    }
}

/// x times a float32 number, rounded once to the type of x; candle alone would round the number first, and so
/// lengthen or shorten every step of a bfloat16 model.
fn scaled(x: &Tensor, by: f32) -> Result<Tensor> {
    Ok((x.to_dtype(DType::F32)? * f64::from(by))?.to_dtype(x.dtype())?)
}
