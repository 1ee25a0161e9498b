//! Keys and values of a head in the order in which they are multiplied.

use super::Attention;
use crate::product::DEPTH;
use crate::product::number::Number;
use crate::product::order::fill;
use crate::product::tile::Tile;

/// Keys whose scores are held at once, for every tile a whole number of its rows, and an even one.
pub(super) const BLOCK: usize = 240;

/// The keys of a head as `[piece of DEPTH numbers of the width][panel of keys][number of the width][key in panel]`, and its values
/// as `[block of keys][panel of the width][number of the keys][width in panel]`.
pub(super) struct Prepared<'a, N> {
    keys: &'a [N],
    values: &'a [N],
    tall: usize,
    wide: usize,
    count: usize,
}

impl<'a, N: Number> Prepared<'a, N> {
    /// Numbers that a head takes.
    pub(super) fn length(shape: &Attention, tile: &Tile<N>) -> usize {
        let keys = shape.keys.next_multiple_of(tile.rows) * shape.width.div_ceil(N::PER);
        keys + shape.keys.div_ceil(N::PER) * shape.width.next_multiple_of(tile.rows)
    }

    /// Brings the keys and values of a head into order.
    pub(super) fn fill<'b>(
        shape: &Attention,
        tile: &Tile<N>,
        key: impl Fn(usize) -> &'b [f32],
        value: impl Fn(usize) -> &'b [f32],
        to: &mut [N],
    ) {
        let tall = shape.keys.next_multiple_of(tile.rows);
        let (keys, values) = to.split_at_mut(tall * shape.width.div_ceil(N::PER));
        for (piece, keys) in keys.chunks_mut(tall * DEPTH).enumerate() {
            let depth = keys.len() / tall;
            for (p, panel) in keys.chunks_exact_mut(tile.rows * depth).enumerate() {
                let read = |row: usize, to: &mut [N]| match p * tile.rows + row {
                    at if at < shape.keys => N::read(&key(at)[piece * DEPTH * N::PER..], to),
                    _ => to.fill(N::default()),
                };
                fill(tile.rows, read, panel);
            }
        }
        let wide = shape.width.next_multiple_of(tile.rows);
        for (block, values) in values.chunks_mut(BLOCK / N::PER * wide).enumerate() {
            let count = values.len() / wide;
            for (p, panel) in values.chunks_exact_mut(count * tile.rows).enumerate() {
                let first = p * tile.rows;
                let inside = tile.rows.min(shape.width - first);
                for (i, to) in panel.chunks_exact_mut(tile.rows).enumerate() {
                    let at = block * BLOCK + i * N::PER;
                    let row = |at: usize| &value(at)[first..first + inside];
                    N::stand(row(at), (at + 1 < shape.keys).then(|| row(at + 1)), &mut to[..inside]);
                    to[inside..].fill(N::default());
                }
            }
        }
    }

    /// What [`Self::fill`] left.
    pub(super) fn view(shape: &Attention, tile: &Tile<N>, from: &'a [N]) -> Self {
        let tall = shape.keys.next_multiple_of(tile.rows);
        let (keys, values) = from.split_at(tall * shape.width.div_ceil(N::PER));
        Self { keys, values, tall, wide: shape.width.next_multiple_of(tile.rows), count: shape.keys }
    }

    /// First key and number of keys of each block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.count;
        (0..count).step_by(BLOCK).map(move |first| (first, BLOCK.min(count - first)))
    }

    /// Panels of a block's keys, some numbers of their width from `start` on.
    pub(super) fn keys(
        &self,
        tile: &Tile<N>,
        (first, count): (usize, usize),
        (start, depth): (usize, usize),
    ) -> &'a [N] {
        &self.keys[self.tall * start + first * depth..][..count.next_multiple_of(tile.rows) * depth]
    }

    /// Panels of a block's values.
    pub(super) fn values(&self, (first, count): (usize, usize)) -> &'a [N] {
        &self.values[first / N::PER * self.wide..][..count.div_ceil(N::PER) * self.wide]
    }
}
