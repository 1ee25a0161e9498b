//! Loaded models, shared by what they were loaded from: two endpoints on one folder load it once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use scumble_engine::Pipeline;
use scumble_engine::families;
use scumble_engine::weights::{Assembly, Source};

use super::{Model, width};
use crate::runner::RunError;

/// Where a loaded model is kept, or will be.
#[derive(Clone, Default)]
pub(super) struct Slot {
    loaded: Arc<Mutex<Option<Arc<dyn Pipeline>>>>,
}

/// All slots of a process.
#[derive(Default)]
pub(crate) struct Residency {
    slots: Mutex<HashMap<Key, Slot>>,
}

/// What makes two models the same: their files, their device, their number type.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    files: PathBuf,
    computes: String,
}

impl Residency {
    /// The slot of a model; the same one for the same files.
    pub(super) fn slot(&self, model: &Model) -> Slot {
        let files = match &model.source {
            // one folder may be named in several ways
            Source::Folder(folder) => real(folder),
            Source::Assembled(Assembly { weights, base, components }) => {
                let components = components.iter().map(|(name, path)| (name, real(path)));
                PathBuf::from(format!(
                    "{:?}",
                    (real(weights), base.as_deref().map(real), components.collect::<Vec<_>>())
                ))
            }
            Source::Embedded { name, .. } => PathBuf::from(name),
        };
        let computes = format!("{:?} {:?}", model.precision.device.location(), model.precision.dtype);
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(Key { files, computes }).or_default().clone()
    }
}

/// A path by which others that mean the same are known.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Slot {
    /// Loads once, however many jobs wait for it. `class` is the pipeline class that the endpoint needs; `announce` is called
    /// where the caller has to wait for that.
    pub(super) fn pipeline(
        &self,
        class: Option<&str>,
        model: &Model,
        announce: impl Fn() -> Result<(), RunError>,
    ) -> Result<Arc<dyn Pipeline>, RunError> {
        let (mut loaded, is_announced) = match self.loaded.try_lock() {
            Ok(loaded) => (loaded, false),
            Err(TryLockError::Poisoned(loaded)) => (loaded.into_inner(), false),
            // another job loads it
            Err(TryLockError::WouldBlock) => {
                announce()?;
                (self.loaded.lock().unwrap_or_else(PoisonError::into_inner), true)
            }
        };
        if let Some(pipeline) = &*loaded {
            return Ok(pipeline.clone());
        }
        if !is_announced {
            announce()?;
        }
        let (source, precision) = (model.source.clone(), &width::precision(model)?);
        let pipeline: Arc<dyn Pipeline> = match class {
            Some(class) => families::open_as(class, source, precision)?.into(),
            None => families::open(source, precision)?.into(),
        };
        *loaded = Some(pipeline.clone());
        Ok(pipeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scumble_engine::weights::Precision;
    use scumble_engine::{DType, Device};

    fn model(folder: &str, dtype: Option<DType>) -> Model {
        Model { source: Source::Folder(folder.into()), precision: Precision { device: Device::Cpu, dtype } }
    }

    #[test]
    fn the_same_files_in_the_same_type_are_loaded_once() {
        let residency = Residency::default();
        let same = |a: &Model, b: &Model| Arc::ptr_eq(&residency.slot(a).loaded, &residency.slot(b).loaded);
        let here = env!("CARGO_MANIFEST_DIR");
        assert!(same(&model(here, None), &model(&format!("{here}/src/.."), None)));
        assert!(!same(&model(here, None), &model(here, Some(DType::BF16))));
        assert!(!same(&model(here, None), &model(&format!("{here}/src"), None)));
    }
}
