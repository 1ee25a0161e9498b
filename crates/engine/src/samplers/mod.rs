//! Noise levels and the way down: how levels are spaced, and the solver that goes from one to the next.

mod euler;
mod spacing;

pub use euler::Euler;
pub use spacing::{FlowSpacing, Schedule, TrainedSpacing};
