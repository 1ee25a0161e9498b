//! One component of a checkpoint, whole and nothing else.

use std::ops::Deref;
use std::sync::Arc;

use candle_core::DType;

use crate::error::Result;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Overlay, Precision, Weights};

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

/// Loads the autoencoder, which opens its files again when a picture is first encoded.
pub(crate) fn load_vae(checkpoint: &Checkpoint, config: &VaeConfig, precision: &Precision) -> Result<Vae> {
    let vae = load(checkpoint, "vae", DIFFUSERS, precision, |_| false, |w| Vae::load(config, w))?;
    let (checkpoint, precision) = (checkpoint.clone(), precision.clone());
    Ok(vae.reopened_by(move || checkpoint.weights("vae", DIFFUSERS, &precision)))
}

/// A component that can be built again over the same tensors with changes; clones share everything.
pub(crate) struct Held<T> {
    model: Arc<T>,
    weights: Weights,
    build: Arc<Build<T>>,
}

type Build<T> = dyn Fn(&Weights) -> Result<T> + Send + Sync;

/// Loads a component as [`load`] does, and holds what it was built from: its tensors, not its files.
pub(crate) fn load_held<T>(
    checkpoint: &Checkpoint,
    folder: &str,
    base: &str,
    precision: &Precision,
    ignores: impl Fn(&str) -> bool,
    build: impl Fn(&Weights) -> Result<T> + Send + Sync + 'static,
) -> Result<Held<T>> {
    let weights = checkpoint.weights(folder, base, precision)?.keeping();
    let model = build(&weights)?;
    weights.finish(ignores)?;
    Ok(Held { model: Arc::new(model), weights: weights.held(), build: Arc::new(build) })
}

impl<T> Held<T> {
    /// The tensors that it was built from.
    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same component with changes; without any, it is the one that was there before.
    pub(crate) fn with(&self, overlay: Overlay) -> Result<Self> {
        if overlay.is_empty() {
            return Ok(self.clone());
        }
        let model = (self.build)(&self.weights.with(overlay))?;
        Ok(Self { model: Arc::new(model), ..self.clone() })
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { model: Arc::clone(&self.model), weights: self.weights.clone(), build: Arc::clone(&self.build) }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.model
    }
}

/// For components that overflow in float16, which is then another type.
pub(crate) fn instead_of_half(precision: &Precision, other: DType) -> Precision {
    match precision.dtype {
        Some(DType::F16) => Precision { dtype: Some(other), ..precision.clone() },
        _ => precision.clone(),
    }
}
