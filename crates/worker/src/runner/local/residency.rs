//! Loaded models, shared by what they were loaded from: two endpoints on one folder load it once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use scumble_engine::Pipeline;
use scumble_engine::families;
use scumble_engine::weights::Source;

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
    /// What its owner named beside them.
    llama: Option<PathBuf>,
    computes: String,
}

impl Residency {
    /// The slot of a model; the same one for the same files.
    pub(super) fn slot(&self, model: &Model) -> Slot {
        // one folder may be named in several ways
        let one = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let (files, llama) = match &model.source {
            Source::Folder(folder) => (one(folder), None),
            Source::FolderAndLlama { folder, llama } => (one(folder), Some(one(llama))),
            Source::Embedded { name, .. } => (PathBuf::from(name), None),
        };
        let computes = format!("{:?} {:?}", model.precision.device.location(), model.precision.dtype);
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(Key { files, llama, computes })
            .or_default()
            .clone()
    }
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
        let with = |llama: &str| {
            let source = Source::FolderAndLlama { folder: here.into(), llama: llama.into() };
            Model { source, ..model(here, None) }
        };
        assert!(same(&with(here), &with(&format!("{here}/src/.."))));
        assert!(!same(&with(here), &with("elsewhere")) && !same(&with(here), &model(here, None)));
    }
}
