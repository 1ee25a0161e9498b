//! One component of a checkpoint, whole and nothing else.

use candle_core::DType;

use crate::error::Result;
use crate::weights::{Checkpoint, Precision, Weights};

/// Base name of a component's weights: diffusers' own models and those of transformers.
pub(crate) const DIFFUSERS: &str = "diffusion_pytorch_model";
pub(crate) const TRANSFORMERS: &str = "model";

/// Loads a component and makes sure that its files hold nothing else.
pub(crate) fn load<T>(
    checkpoint: &Checkpoint,
    folder: &str,
    base: &str,
    precision: &Precision,
    ignores: impl Fn(&str) -> bool,
    build: impl FnOnce(&Weights) -> Result<T>,
) -> Result<T> {
    let weights = checkpoint.weights(folder, base, precision)?;
    let component = build(&weights)?;
    weights.finish(ignores)?;
    Ok(component)
}

/// For components that overflow in float16, which is then another type.
pub(crate) fn instead_of_half(precision: &Precision, other: DType) -> Precision {
    match precision.dtype {
        Some(DType::F16) => Precision { dtype: Some(other), ..precision.clone() },
        _ => precision.clone(),
    }
}
