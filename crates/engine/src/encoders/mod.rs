//! Text encoders, shared by the families that use them.

mod clip;
mod t5;

pub use clip::{ClipActivation, ClipConfig, ClipOutput, ClipText};
pub use t5::{T5Config, T5Encoder};
