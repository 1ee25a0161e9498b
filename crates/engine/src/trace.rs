//! What a pipeline computed on the way, under the names of the golden files.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// Collects named tensors of one run: the first under each name, on the CPU; floats as float32, ids and bytes as they
/// are.
#[derive(Default)]
pub struct Trace {
    tensors: Mutex<BTreeMap<String, Tensor>>,
    blocks: bool,
    draws: BTreeMap<String, Tensor>,
}

impl Trace {
    /// A trace of everything that is small.
    pub fn new() -> Self {
        Self::default()
    }

    /// A trace that also keeps the output of every transformer block of step 0: gigabytes for a full-sized model.
    pub fn with_blocks() -> Self {
        Self { blocks: true, ..Self::default() }
    }

    /// The same trace with a draw of the reference: where that draws from a state of its own and a pipeline does not, as for
    /// the picture of a ControlNet, this takes the place of the draw, so that the rest can be compared.
    #[must_use]
    pub fn with_draw(mut self, name: &str, draw: Tensor) -> Self {
        self.draws.insert(name.to_owned(), draw);
        self
    }

    /// A draw that was given.
    pub(crate) fn draw(&self, name: &str) -> Option<&Tensor> {
        self.draws.get(name)
    }

    /// Whether block outputs are wanted.
    pub fn wants_blocks(&self) -> bool {
        self.blocks
    }

    /// Keeps a tensor, unless the name is taken.
    ///
    /// # Errors
    /// A device that cannot give its memory back.
    pub fn put(&self, name: &str, tensor: &Tensor) -> Result<()> {
        let mut tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        if tensors.contains_key(name) {
            return Ok(());
        }
        let tensor = tensor.to_device(&Device::Cpu)?;
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::F32)? } else { tensor };
        tensors.insert(name.to_owned(), tensor.contiguous()?);
        Ok(())
    }

    /// Writes everything that was kept into a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(self, path: &std::path::Path) -> Result<()> {
        let tensors: std::collections::HashMap<String, Tensor> = self.into_tensors().into_iter().collect();
        Ok(candle_core::safetensors::save(&tensors, path)?)
    }

    /// Everything that was kept.
    pub fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.tensors.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
