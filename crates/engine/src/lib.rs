//! Pixels from parameters: the diffusion engine of Scumble.
//!
//! [`pipelines::open`] loads a folder of weights, [`pipelines::Pipeline::generate`] turns [`Params`] into
//! [`Pixels`], asking an [`Observer`] after every step. The engine takes folders and numbers: it never touches the
//! network, the environment, the clock or global random state.
//!
//! What two families use is shared: [`encoders`], [`vae`], [`samplers`], [`nn`], [`rng`].

pub mod checkpoint;
pub mod encoders;
mod error;
pub mod models;
pub mod nn;
mod observer;
mod params;
pub mod pipelines;
mod pixels;
pub mod rng;
pub mod samplers;
pub mod tokenize;
mod trace;
pub mod vae;

pub use candle_core::{DType, Device, Tensor};
pub use error::{Error, Result};
pub use observer::{Control, Observer, Stage, Step, Unobserved};
pub use params::Params;
pub use pixels::Pixels;
pub use trace::Trace;
