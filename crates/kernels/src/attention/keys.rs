//! Keys and values of a head in the order in which they are multiplied.

use super::Attention;
use crate::product::DEPTH;
use crate::product::order::fill;
use crate::product::tile::Tile;

/// Keys whose scores are held at once, for every tile a whole number of its rows.
pub(super) const BLOCK: usize = 240;

/// The keys of a head as `[piece of DEPTH of the width][panel of keys][width][key in panel]`, and its values as
/// `[block of keys][panel of the width][key][width in panel]`.
pub(super) struct Prepared<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    tall: usize,
    wide: usize,
    count: usize,
}

impl<'a> Prepared<'a> {
    /// Numbers that a head takes.
    pub(super) fn length(shape: &Attention, tile: &Tile) -> usize {
        shape.keys.next_multiple_of(tile.rows) * shape.width + shape.keys * shape.width.next_multiple_of(tile.rows)
    }

    /// Brings the keys and values of a head into order.
    pub(super) fn fill<'b>(
        shape: &Attention,
        tile: &Tile,
        key: impl Fn(usize) -> &'b [f32],
        value: impl Fn(usize) -> &'b [f32],
        to: &mut [f32],
    ) {
        let tall = shape.keys.next_multiple_of(tile.rows);
        let (keys, values) = to.split_at_mut(tall * shape.width);
        for (piece, keys) in keys.chunks_mut(tall * DEPTH).enumerate() {
            let depth = keys.len() / tall;
            for (p, panel) in keys.chunks_exact_mut(tile.rows * depth).enumerate() {
                let read = |row: usize, to: &mut [f32]| match p * tile.rows + row {
                    at if at < shape.keys => to.copy_from_slice(&key(at)[piece * DEPTH..][..depth]),
                    _ => to.fill(0.0),
                };
                fill(tile.rows, read, panel);
            }
        }
        let wide = shape.width.next_multiple_of(tile.rows);
        for (block, values) in values.chunks_mut(BLOCK * wide).enumerate() {
            let count = values.len() / wide;
            for (p, panel) in values.chunks_exact_mut(count * tile.rows).enumerate() {
                let first = p * tile.rows;
                let inside = tile.rows.min(shape.width - first);
                for (i, to) in panel.chunks_exact_mut(tile.rows).enumerate() {
                    to[..inside].copy_from_slice(&value(block * BLOCK + i)[first..first + inside]);
                    to[inside..].fill(0.0);
                }
            }
        }
    }

    /// What [`Self::fill`] left.
    pub(super) fn view(shape: &Attention, tile: &Tile, from: &'a [f32]) -> Self {
        let tall = shape.keys.next_multiple_of(tile.rows);
        let (keys, values) = from.split_at(tall * shape.width);
        Self { keys, values, tall, wide: shape.width.next_multiple_of(tile.rows), count: shape.keys }
    }

    /// First key and number of keys of each block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.count;
        (0..count).step_by(BLOCK).map(move |first| (first, BLOCK.min(count - first)))
    }

    /// Panels of a block's keys, some of their width from `start` on.
    pub(super) fn keys(
        &self,
        tile: &Tile,
        (first, count): (usize, usize),
        (start, depth): (usize, usize),
    ) -> &'a [f32] {
        &self.keys[self.tall * start + first * depth..][..count.next_multiple_of(tile.rows) * depth]
    }

    /// Panels of a block's values.
    pub(super) fn values(&self, (first, count): (usize, usize)) -> &'a [f32] {
        &self.values[first * self.wide..][..count * self.wide]
    }
}
