//! What follows a product while its sums are still at hand.

use crate::activation::{Activation, activate_chunk};
use crate::multiversion::multiversion;

/// What is done to the sums, in the order of the fields; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// Added, one number per row of W.
    pub bias: Option<&'a [f32]>,
    /// Applied to each number.
    pub activation: Option<Activation>,
    /// Multiplied with, number by number: `[n, rows]`.
    pub times: Option<&'a [f32]>,
    /// Added to.
    pub residual: Option<Residual<'a>>,
}

/// `onto + gate · y`.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// `[n, rows]`.
    pub onto: &'a [f32],
    /// `[batch, rows]`, each for n / batch rows of x; 1 where there is none.
    pub gate: Option<&'a [f32]>,
}

impl Finish<'_> {
    /// # Panics
    /// Where a length does not fit.
    pub(super) fn check(&self, n: usize, rows: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == rows), "one bias per row");
        assert!(self.times.is_none_or(|times| times.len() == n * rows), "one factor per sum");
        if let Some(residual) = &self.residual {
            assert_eq!(residual.onto.len(), n * rows, "one number per sum");
            let whole = |gate: &[f32]| gate.len().is_multiple_of(rows) && n.is_multiple_of((gate.len() / rows).max(1));
            assert!(residual.gate.is_none_or(|gate| !gate.is_empty() && whole(gate)), "one gate per batch entry");
        }
    }

    /// Finishes the sums of row `row` of `n` with the rows of W from `first` on.
    pub(super) fn apply(&self, row: usize, first: usize, n: usize, rows: usize, sums: &mut [f32]) {
        let count = sums.len();
        if let Some(bias) = self.bias {
            add(sums, &bias[first..first + count]);
        }
        if let Some(kind) = self.activation {
            activate_chunk(kind, sums);
        }
        let at = row * rows + first;
        if let Some(times) = self.times {
            multiply(sums, &times[at..at + count]);
        }
        if let Some(Residual { onto, gate }) = self.residual {
            if let Some(gate) = gate {
                let batch = row / (n / (gate.len() / rows));
                multiply(sums, &gate[batch * rows + first..][..count]);
            }
            add(sums, &onto[at..at + count]);
        }
    }
}

multiversion! {
    fn add(to: &mut [f32], from: &[f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}

multiversion! {
    fn multiply(to: &mut [f32], from: &[f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to *= from;
        }
    }
}
