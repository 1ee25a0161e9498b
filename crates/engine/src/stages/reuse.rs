//! First-block caching: a step whose first block changes the picture's tokens nearly as it did before takes over what the
//! other blocks added then. As diffusers' `FirstBlockCacheConfig` does it, after Cheng (ParaAttention, 2024).

use std::cell::{Cell, RefCell};

use candle_core::{DType, Tensor};

use crate::error::Result;

/// What one pass over the steps remembers from the last one that was computed in full.
pub(crate) struct FirstBlock {
    /// Mean change of what the first block adds, as a share of its mean magnitude, up to which the rest is taken over.
    threshold: f64,
    last: RefCell<Option<Last>>,
    steps: Cell<usize>,
    reused: Cell<usize>,
}

struct Last {
    /// What the first block added.
    head: Tensor,
    /// What all others added.
    tail: Tensor,
}

impl FirstBlock {
    pub(crate) fn new(threshold: f64) -> Self {
        Self { threshold, last: RefCell::default(), steps: Cell::new(0), reused: Cell::new(0) }
    }

    /// What the other blocks will add, as far as one can tell from what the first one `added`; none where they have to be
    /// computed.
    pub(crate) fn rest(&self, added: &Tensor) -> Result<Option<Tensor>> {
        self.steps.set(self.steps.get() + 1);
        let last = self.last.borrow();
        let Some(last) = &*last else { return Ok(None) };
        let change = magnitude(&(added - &last.head)?)? / magnitude(&last.head)?;
        // a change that is no number has to be computed
        let is_small = change <= self.threshold;
        if is_small {
            self.reused.set(self.reused.get() + 1);
        }
        Ok(is_small.then(|| last.tail.clone()))
    }

    /// Remembers a step that was computed in full.
    pub(crate) fn remember(&self, head: Tensor, tail: Tensor) {
        self.last.replace(Some(Last { head, tail }));
    }

    /// How many steps were taken over, of how many.
    pub(crate) fn reused(&self) -> (usize, usize) {
        (self.reused.get(), self.steps.get())
    }
}

/// Mean of the absolute values.
fn magnitude(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.to_dtype(DType::F32)?.abs()?.mean_all()?.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &candle_core::Device::Cpu).expect("a tensor")
    }

    #[test]
    fn only_small_changes_are_taken_over_and_measured_from_the_last_full_step() -> Result<()> {
        let cache = FirstBlock::new(0.1);
        assert!(cache.rest(&tensor(&[1.0, -1.0]))?.is_none(), "nothing is known yet");
        cache.remember(tensor(&[1.0, -1.0]), tensor(&[5.0, 6.0]));
        assert!(cache.rest(&tensor(&[1.2, -1.1]))?.is_none());
        for _ in 0..2 {
            let rest = cache.rest(&tensor(&[1.1, -1.05]))?.expect("a small change");
            assert_eq!(rest.to_vec1::<f32>()?, [5.0, 6.0]);
        }
        assert_eq!(cache.reused(), (2, 4));
        assert!(cache.rest(&tensor(&[f32::NAN, 1.0]))?.is_none());
        cache.remember(tensor(&[0.0, 0.0]), tensor(&[1.0, 1.0]));
        assert!(cache.rest(&tensor(&[0.0, 0.0]))?.is_none(), "nothing to compare with");
        Ok(())
    }
}
