//! Pixels from a call: the diffusion engine of Scumble.
//!
//! [`families::open`] loads a folder of weights, [`Pipeline::generate`] turns a [`Call`] into [`Pixels`], asking an
//! [`Observer`] after every step. The engine takes folders and numbers: it never touches the network, the environment,
//! the clock or global random state.
//!
//! A family of models is a folder in [`families`]: its pipeline, its transformer, its row in
//! [`families::FAMILIES`]. What several of them use is shared: `stages`, [`encoders`], [`vae`], [`samplers`], [`nn`],
//! [`rng`].

pub mod adapters;
mod call;
pub mod checkers;
mod device;
pub mod encoders;
mod error;
pub mod families;
pub mod nn;
mod observer;
mod picture;
mod pixels;
pub mod rng;
pub mod samplers;
mod stages;
pub mod tokenize;
mod trace;
pub mod vae;
pub mod weights;

pub use call::{Acceleration, Call, Sizes, Solver};
pub use candle_core::{DType, Device, Tensor};
pub use device::{Card, Memory, cards, device, devices, give_back, memory, runs_plain};
pub use error::{Error, Result};
pub use families::{Context, Pipeline};
pub use observer::{Control, Observer, Reading, Stage, Step, Unobserved};
pub use picture::Filter;
pub use pixels::Pixels;
pub use trace::Trace;

// the instruction set that kernels on the CPU use
pub use scumble_kernels as kernels;
pub use scumble_kernels::{Level, at_most as use_at_most, level as instruction_set};
