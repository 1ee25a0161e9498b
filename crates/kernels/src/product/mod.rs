//! Matrix products, x Wᵀ, over matrices that stay as they are held.
//!
//! W is read row by row through [`Rows`]: float32, or anything that decodes to it. A task takes a block of W's rows; it
//! brings piece after piece of their columns into the order of the tile kernel and multiplies it with all of x, which was
//! brought into that order once. So nothing is laid out at load, and a matrix of blocks costs one decoding per call, shared
//! by all rows of x. Each sum runs over the columns in pieces of [`DEPTH`], in order, whatever the number of threads.
//!
//! The tiling is that of Goto and van de Geijn (2008), "Anatomy of high-performance matrix multiplication".

mod few;
mod finish;
mod groups;
pub(crate) mod number;
pub(crate) mod order;
pub(crate) mod tile;

use std::sync::OnceLock;

use rayon::prelude::*;

pub use finish::{Finish, Residual};
pub use groups::{GROUP, Group, GroupRows, group_product};

use crate::scratch::lend;
use crate::shared::Shared;
use crate::together;
use number::Number;
use tile::Tile;

/// Columns that are summed in registers before a sum goes back to memory; a multiple of the longest block in use.
pub(crate) const DEPTH: usize = 256;
/// Rows of W in a task, at most.
const BREADTH: usize = 64;
/// Rows of x in a task, about: as many as leave their sums in the second cache, since each task decodes its rows of W.
const HEIGHT: usize = 1536;
/// Tasks for each thread, where there is enough to do, so that none waits long for the last.
const SHARE: usize = 4;
/// Rows of x that are worth a task of their own.
const LOW: usize = 96;

/// A matrix whose rows can be read in pieces.
pub trait Rows: Sync {
    /// How many rows it has.
    fn rows(&self) -> usize;
    /// Numbers in each row.
    fn columns(&self) -> usize;
    /// The numbers of a row from column `first` on, as many as `to` has. `first` is a multiple of 256.
    fn read(&self, row: usize, first: usize, to: &mut [f32]);
    /// The same in bfloat16, two numbers in each place, the first in the lower half; the last one of an odd number stands
    /// beside a 0.
    fn read_pairs(&self, row: usize, first: usize, to: &mut [u32]) {
        let mut numbers = [0.0; DEPTH];
        for (i, to) in to.chunks_mut(DEPTH / 2).enumerate() {
            let first = first + i * DEPTH;
            let numbers = &mut numbers[..(2 * to.len()).min(self.columns() - first)];
            self.read(row, first, numbers);
            number::pairs(numbers, to);
        }
    }
}

/// A matrix in row-major float32.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    values: &'a [f32],
    columns: usize,
}

impl<'a> Plain<'a> {
    /// Rows of `columns` numbers.
    ///
    /// # Panics
    /// Where the numbers are not whole rows.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns));
        Self { values, columns }
    }
}

impl Rows for Plain<'_> {
    fn rows(&self) -> usize {
        self.values.len() / self.columns
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read(&self, row: usize, first: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.values[row * self.columns + first..][..to.len()]);
    }
}

/// `output = finish(x Wᵀ)` for `x` `[n, columns]` and `output` `[n, rows]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn product(x: &[f32], w: &dyn Rows, finish: &Finish<'_>, output: &mut [f32]) {
    product_by::<f32>(Tile::of_level(), x, w, finish, output);
}

/// The same of x and W rounded to bfloat16, summed in float32. Few rows of x are not rounded, since W is then read once and
/// nothing is won.
///
/// # Panics
/// Where the lengths do not fit.
pub fn half_product(x: &[f32], w: &dyn Rows, finish: &Finish<'_>, output: &mut [f32]) {
    product_by::<u32>(Tile::of_halves(), x, w, finish, output);
}

/// Whether [`half_product`] is the faster one here.
///
/// `vdpbf16ps` multiplies twice as many numbers as an instruction for float32. On AMD's processors it takes the same time; on
/// Intel's without AMX four times as long was measured, so that nothing is won there.
pub fn halves_pay() -> bool {
    static PAY: OnceLock<bool> = OnceLock::new();
    *PAY.get_or_init(|| tile::has_halves() && tile::is_amd())
}

fn product_by<N: Number>(tile: &Tile<N>, x: &[f32], w: &dyn Rows, finish: &Finish<'_>, output: &mut [f32]) {
    let (rows, columns) = (w.rows(), w.columns());
    assert!(columns > 0 && x.len().is_multiple_of(columns));
    let n = x.len() / columns;
    assert_eq!(output.len(), n * rows);
    finish.check(n, rows);
    if output.is_empty() {
        return;
    }
    if n <= few::MOST {
        return few::product(x, w, finish, output);
    }
    together(|| {
        N::lend(order::length(n, tile.rows, columns.div_ceil(N::PER)), |ordered| {
            order::all(x, columns, tile.rows, ordered);
            let ordered = &*ordered;
            let output = Shared::new(output);
            Block::each((n, rows), (tile.rows, tile.columns), |block| block.run(tile, ordered, w, finish, &output));
        });
    });
}

/// Does to sums `[n, rows]` what a product that ends so would do.
///
/// # Panics
/// Where the lengths do not fit.
pub fn finish(sums: &mut [f32], rows: usize, ends: &Finish<'_>) {
    assert!(rows > 0 && sums.len().is_multiple_of(rows));
    let n = sums.len() / rows;
    ends.check(n, rows);
    let task = crate::rows_per_task(rows);
    sums.par_chunks_mut(rows * task).enumerate().for_each(|(t, sums)| {
        for (i, sums) in sums.chunks_exact_mut(rows).enumerate() {
            ends.apply(t * task + i, 0, n, rows, sums);
        }
    });
}

/// What a task computes: some rows of W from `first` of all `rows`, some rows of x from `top` of all `n`.
struct Block {
    first: usize,
    breadth: usize,
    top: usize,
    height: usize,
    n: usize,
    rows: usize,
}

impl Block {
    /// Has everything computed, each block by one task. They are whole tiles, but at the ends, and few enough that all threads
    /// have work.
    fn each((n, rows): (usize, usize), (high, wide): (usize, usize), run: impl Fn(&Self) + Sync) {
        let breadth = BREADTH.next_multiple_of(wide).min(rows.next_multiple_of(wide));
        let blocks = rows.div_ceil(breadth);
        let wanted = (SHARE * rayon::current_num_threads()).div_ceil(blocks);
        let parts = n.div_ceil(HEIGHT).max(wanted.min(n.div_ceil(LOW)));
        let height = n.div_ceil(parts).next_multiple_of(high);
        (0..blocks * n.div_ceil(height)).into_par_iter().with_max_len(1).for_each(|task| {
            let (first, top) = (task % blocks * breadth, task / blocks * height);
            run(&Self { first, breadth: breadth.min(rows - first), top, height: height.min(n - top), n, rows });
        });
    }

    /// Rows of x and of W in whole tiles.
    fn whole(&self, (high, wide): (usize, usize)) -> (usize, usize) {
        (self.height.next_multiple_of(high), self.breadth.next_multiple_of(wide))
    }

    fn run<N: Number>(&self, tile: &Tile<N>, ordered: &[N], w: &dyn Rows, finish: &Finish<'_>, output: &Shared<'_>) {
        let numbers = w.columns().div_ceil(N::PER);
        let (tall, width) = self.whole((tile.rows, tile.columns));
        lend(tall * width, |sums| {
            N::lend(width * DEPTH, |piece| {
                for start in (0..numbers).step_by(DEPTH) {
                    let depth = DEPTH.min(numbers - start);
                    let piece = &mut piece[..width * depth];
                    order::rows_of(w, (self.first, self.breadth), start, tile.columns, piece);
                    let rows = self.n.next_multiple_of(tile.rows);
                    let x = order::part(ordered, rows, (start, depth), (self.top, tall));
                    tile.multiply(x, piece, depth, start > 0, sums);
                }
            });
            self.hand_over(sums, width, finish, output);
        });
    }

    /// Finishes its sums, `[height, width]`, and writes them where they belong in the output, `[n, rows]`.
    fn hand_over(&self, sums: &mut [f32], width: usize, finish: &Finish<'_>, output: &Shared<'_>) {
        for (i, sums) in sums.chunks_exact_mut(width).take(self.height).enumerate() {
            let row = self.top + i;
            let sums = &mut sums[..self.breadth];
            finish.apply(row, self.first, self.n, self.rows, sums);
            #[expect(unsafe_code, reason = "tasks write rectangles")]
            // SAFETY: no other task has these rows of x and of W.
            let to = unsafe { output.part(row * self.rows + self.first, self.breadth) };
            to.copy_from_slice(sums);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
