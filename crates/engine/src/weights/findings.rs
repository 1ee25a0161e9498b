//! Everything that is wrong with the tensors of a checkpoint, not only the first of it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;

/// Collects errors. Clones share what they collect.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings(Arc<Mutex<Vec<Error>>>);

impl Findings {
    pub(super) fn add(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    /// All of it, in the order in which it was found.
    pub(super) fn take(&self) -> Vec<Error> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
