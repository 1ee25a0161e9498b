//! Products with matrices of small whole numbers in groups that share a scale: the blocks of ggml's files.
//!
//! Each group of x, as many numbers as a group of W has, is rounded to whole numbers of eight bits with a scale of its own;
//! the products of whole numbers are then summed exactly, and scaled once for each group. What is lost is the rounding of
//! x: at most 1/254 of the largest number of its group. Everything else is as in [`product`](super::product).

mod order;
mod tile;

use super::{Block, DEPTH, Finish, Rows, few};
use crate::scratch::{lend, lend_lanes};
use crate::shared::Shared;
use crate::together;
use order::Left;
use tile::Tile;

/// Numbers in a group.
pub const GROUP: usize = 32;
/// Groups that are multiplied before the next rows of W are decoded.
const PIECE: usize = DEPTH / GROUP;

/// Numbers of W: each is `scale · number + floor`.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What is multiplied: from −128 to 127.
    pub numbers: [i8; GROUP],
    /// What they are multiplied by.
    pub scale: f32,
    /// What they begin at.
    pub floor: f32,
}

impl Group {
    /// Numbers that are all 0.
    pub const ZERO: Self = Self { numbers: [0; GROUP], scale: 0.0, floor: 0.0 };
}

/// A matrix whose rows are groups; its columns are a multiple of [`GROUP`].
pub trait GroupRows: Rows {
    /// The groups of a row from group `first` on, as many as `to` has. `first` is a multiple of 8.
    fn groups(&self, row: usize, first: usize, to: &mut [Group]);
}

/// `output = finish(x Wᵀ)` for `x` `[n, columns]`, which is rounded, and `output` `[n, rows]`. Few rows of x are not rounded,
/// since W is then read once and nothing is won.
///
/// # Panics
/// Where the lengths do not fit.
pub fn group_product(x: &[f32], w: &dyn GroupRows, finish: &Finish<'_>, output: &mut [f32]) {
    product_by(Tile::of_level(), x, w, finish, output);
}

fn product_by(tile: &Tile, x: &[f32], w: &dyn GroupRows, finish: &Finish<'_>, output: &mut [f32]) {
    let (rows, columns) = (w.rows(), w.columns());
    assert!(columns > 0 && columns.is_multiple_of(GROUP) && x.len().is_multiple_of(columns));
    let n = x.len() / columns;
    assert_eq!(output.len(), n * rows);
    finish.check(n, rows);
    if output.is_empty() {
        return;
    }
    if n <= few::MOST {
        return few::product(x, w, finish, output);
    }
    let tall = n.next_multiple_of(tile.rows);
    together(|| {
        lend_lanes(tall * columns / tile.per, |lanes| {
            lend(tall * columns / GROUP * 2, |scales| {
                order::round(x, columns, tile, lanes, scales);
                let left = Left { lanes, scales, rows: tall };
                let output = Shared::new(output);
                Block::each((n, rows), (tile.rows, tile.columns), |block| {
                    let (tall, width) = block.whole((tile.rows, tile.columns));
                    lend(tall * width, |sums| {
                        sums.fill(0.0);
                        sum(tile, &left, w, block, sums);
                        block.hand_over(sums, width, finish, &output);
                    });
                });
            });
        });
    });
}

/// Adds to `sums` the products of a block.
fn sum(tile: &Tile, left: &Left<'_>, w: &dyn GroupRows, block: &Block, sums: &mut [f32]) {
    let (tall, width) = block.whole((tile.rows, tile.columns));
    lend_lanes(width * (DEPTH / tile.per + PIECE), |lanes| {
        lend(width * PIECE * 2, |scales| {
            for start in (0..w.columns()).step_by(DEPTH) {
                let groups = DEPTH.min(w.columns() - start) / GROUP;
                let right =
                    order::rows_of(w, (block.first, block.breadth), (start / GROUP, groups), tile, lanes, scales);
                tile.multiply(&left.part((start, groups), (block.top, tall), tile), &right, groups, sums);
            }
        });
    });
}

#[cfg(test)]
mod tests;
