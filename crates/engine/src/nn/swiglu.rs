//! The gated feed-forward of language models (Shazeer, 2020).

use candle_core::Tensor;

use super::{Activation, Linear};
use crate::error::Result;
use crate::weights::Weights;

/// `down(silu(gate x) · up x)`, without biases.
#[derive(Clone, Debug)]
pub struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl SwiGlu {
    /// The names are those of `gate` `[wide, width]`, `up` `[wide, width]` and `down` `[width, wide]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, [gate, up, down]: [&str; 3], width: usize, wide: usize) -> Result<Self> {
        Ok(Self {
            gate: Linear::load_no_bias(&w.pp(gate), width, wide)?,
            up: Linear::load_no_bias(&w.pp(up), width, wide)?,
            down: Linear::load_no_bias(&w.pp(down), wide, width)?,
        })
    }

    /// `[.., width]` to the same.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.up.times(x, &self.gate.activated(x, Activation::Silu)?)?)
    }
}
