//! A metric with labels as a table of handles: who counts looks a handle up by number, and neither hashes nor allocates.

use std::marker::PhantomData;
use std::sync::OnceLock;

use prometheus::core::{MetricVec, MetricVecBuilder};

use crate::label::Label;

/// A metric with one label.
pub struct Table<B: MetricVecBuilder, L> {
    all: MetricVec<B>,
    cells: Box<[OnceLock<B::M>]>,
    label: PhantomData<fn(L)>,
}

/// A metric with two labels.
pub struct Grid<B: MetricVecBuilder, L, K> {
    all: MetricVec<B>,
    cells: Box<[OnceLock<B::M>]>,
    columns: usize,
    labels: PhantomData<fn(L, K)>,
}

fn empty<M>(cells: usize) -> Box<[OnceLock<M>]> {
    std::iter::repeat_with(OnceLock::new).take(cells).collect()
}

impl<B: MetricVecBuilder, L: Label> Table<B, L> {
    pub(crate) fn new(all: MetricVec<B>) -> Self {
        Self { all, cells: empty(L::values().len()), label: PhantomData }
    }

    /// The same with every value there from the start, so that the first event is seen as one.
    pub(crate) fn filled(self) -> Self {
        for (index, cell) in self.cells.iter().enumerate() {
            cell.get_or_init(|| self.make(index));
        }
        self
    }

    /// The metric of this value.
    pub fn of(&self, label: L) -> &B::M {
        let index = label.index();
        self.cells[index].get_or_init(|| self.make(index))
    }

    fn make(&self, index: usize) -> B::M {
        self.all.with_label_values(&[L::values()[index]])
    }
}

impl<B: MetricVecBuilder, L: Label, K: Label> Grid<B, L, K> {
    pub(crate) fn new(all: MetricVec<B>) -> Self {
        let columns = K::values().len();
        Self { all, cells: empty(L::values().len() * columns), columns, labels: PhantomData }
    }

    /// The same with every pair of values there from the start.
    pub(crate) fn filled(self) -> Self {
        for (index, cell) in self.cells.iter().enumerate() {
            cell.get_or_init(|| self.make(index));
        }
        self
    }

    /// The metric of these values.
    pub fn of(&self, row: L, column: K) -> &B::M {
        let index = row.index() * self.columns + column.index();
        self.cells[index].get_or_init(|| self.make(index))
    }

    fn make(&self, index: usize) -> B::M {
        self.all.with_label_values(&[L::values()[index / self.columns], K::values()[index % self.columns]])
    }
}
