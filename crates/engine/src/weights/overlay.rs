//! Changes that are laid over held weights; the weights themselves stay as they are.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use super::delta::Delta;
use crate::error::Result;

/// Changes of a component's tensors, by their published names. Several changes of one tensor are summed, each taken from
/// the tensor as it was.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    changes: HashMap<String, Vec<Change>>,
}

/// One change of one tensor.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is added; with a magnitude, before rows or columns are brought to their lengths.
    pub delta: Delta,
    /// Lengths of rows or columns that the sum is brought to.
    pub magnitude: Option<Magnitude>,
}

/// W becomes W + scale · (gain ∘ (W + Δ) − W).
#[derive(Clone, Debug)]
pub struct Magnitude {
    /// Factor of every row, `[rows, 1]`, or of every column, `[1, columns]`; float32.
    pub gain: Tensor,
    /// How much of the change is applied.
    pub scale: f64,
}

impl Overlay {
    /// Adds a change of a tensor.
    pub fn add(&mut self, name: String, change: Change) {
        self.changes.entry(name).or_default().push(change);
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn of(&self, name: &str) -> &[Change] {
        self.changes.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Change {
    /// Whether it may be added to products with the tensor, which then needs no second copy.
    pub(super) fn can_stand_beside(&self) -> bool {
        self.magnitude.is_none() && self.delta.is_small()
    }

    /// What is added to a matrix `[rows, columns]`, float32.
    fn of(&self, base: &Tensor) -> Result<Tensor> {
        let delta = self.delta.to(DType::F32, base.device())?.whole()?;
        let Some(Magnitude { gain, scale }) = &self.magnitude else { return Ok(delta) };
        let brought = (base + delta)?.broadcast_mul(&gain.to_device(base.device())?)?;
        Ok(((brought - base)? * *scale)?)
    }
}

/// A tensor with changes, in its own type; they are summed in float32.
pub(super) fn changed<'a>(base: &Tensor, changes: impl Iterator<Item = &'a Change>) -> Result<Tensor> {
    let rows = base.dim(0)?;
    let wide = base.to_dtype(DType::F32)?.reshape((rows, base.elem_count() / rows.max(1)))?;
    let mut sum = wide.clone();
    for change in changes {
        sum = (sum + change.of(&wide)?)?;
    }
    Ok(sum.reshape(base.shape())?.to_dtype(base.dtype())?)
}
