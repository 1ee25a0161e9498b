//! Some queries of one head.

use std::ops::Range;

use super::keys::{BLOCK, Prepared};
use super::{Attention, Bias, PANELS};
use crate::math::exp;
use crate::multiversion::multiversion;
use crate::product::DEPTH;
use crate::product::number::Number;
use crate::product::order::fill;
use crate::product::tile::Tile;
use crate::scratch::lend;

/// Columns of the widest tile.
const WIDEST: usize = 32;
/// Columns of a query that are read at once, at most.
const LONGEST: usize = 2 * DEPTH;

/// A panel of queries while blocks of keys pass.
pub(super) struct Panel<'a, N> {
    /// The queries, scaled: `[piece of DEPTH numbers of the width][number of the width][query]`.
    queries: &'a mut [N],
    /// Sums of weighted values: `[width][query]`.
    sums: &'a mut [f32],
    /// The largest score of each query so far.
    largest: [f32; WIDEST],
    /// The sum of the weights of each query so far.
    total: [f32; WIDEST],
}

impl<N: Number> Panel<'_, N> {
    /// Answers the queries of a task, at most [`PANELS`] panels of them.
    pub(super) fn answer<'b>(
        shape: &Attention,
        tile: &Tile<N>,
        prepared: &Prepared<'_, N>,
        queries: Range<usize>,
        query: impl Fn(usize) -> &'b [f32],
        bias: Option<&Bias<'_>>,
        write: impl Fn(usize, &[f32]),
    ) {
        let lanes = tile.columns;
        let (each, wide) = (shape.width.div_ceil(N::PER) * lanes, shape.width.next_multiple_of(tile.rows) * lanes);
        let room = BLOCK / N::PER * lanes;
        N::lend(PANELS * each + room, |numbers| {
            lend(PANELS * wide + BLOCK * lanes + shape.width, |all| {
                let (room, numbers) = numbers.split_at_mut(room);
                let (scores, rest) = all.split_at_mut(BLOCK * lanes);
                let (row, sums) = rest.split_at_mut(shape.width);
                let pieces = numbers.chunks_exact_mut(each).zip(sums.chunks_exact_mut(wide));
                let mut panels: Vec<Panel<'_, N>> = pieces
                    .take(queries.len().div_ceil(lanes))
                    .map(|(queries, sums)| Panel::new(queries, sums))
                    .collect();
                for (p, panel) in panels.iter_mut().enumerate() {
                    panel.read(shape, lanes, |lane| queries.clone().nth(p * lanes + lane).map(&query));
                }
                for block in prepared.blocks() {
                    for (p, panel) in panels.iter_mut().enumerate() {
                        let first = queries.start + p * lanes;
                        panel.meet(tile, prepared, block, (first, queries.end), bias, (scores, room));
                    }
                }
                for (p, panel) in panels.iter().enumerate() {
                    for (lane, at) in queries.clone().skip(p * lanes).take(lanes).enumerate() {
                        panel.result(lanes, lane, row);
                        write(at, row);
                    }
                }
            });
        });
    }
}

impl<'a, N: Number> Panel<'a, N> {
    fn new(queries: &'a mut [N], sums: &'a mut [f32]) -> Self {
        sums.fill(0.0);
        // finite, so that a score of −∞ has a distance from it
        Self { queries, sums, largest: [f32::MIN; WIDEST], total: [0.0; WIDEST] }
    }

    /// Takes the queries; lanes without one are 0.
    fn read<'b>(&mut self, shape: &Attention, lanes: usize, query: impl Fn(usize) -> Option<&'b [f32]>) {
        for (piece, to) in self.queries.chunks_mut(DEPTH * lanes).enumerate() {
            let first = piece * DEPTH * N::PER;
            let count = (DEPTH * N::PER).min(shape.width - first);
            let read = |lane: usize, to: &mut [N]| match query(lane) {
                Some(from) => {
                    let mut scaled = [0.0; LONGEST];
                    scaled.iter_mut().zip(&from[first..][..count]).for_each(|(to, x)| *to = x * shape.scale);
                    N::read(&scaled[..count], to);
                }
                None => to.fill(N::default()),
            };
            fill(lanes, read, to);
        }
    }

    /// Lets a block of keys pass.
    fn meet(
        &mut self,
        tile: &Tile<N>,
        prepared: &Prepared<'_, N>,
        block: (usize, usize),
        (first, end): (usize, usize),
        bias: Option<&Bias<'_>>,
        (scores, room): (&mut [f32], &mut [N]),
    ) {
        let (start, count) = block;
        for (piece, queries) in self.queries.chunks(DEPTH * tile.columns).enumerate() {
            let depth = queries.len() / tile.columns;
            let keys = prepared.keys(tile, block, (piece * DEPTH, depth));
            tile.multiply(keys, queries, depth, piece > 0, scores);
        }
        let scores = &mut scores[..count * tile.columns];
        if let Some(bias) = bias {
            add_bias(scores, tile.columns, (first, end), start, bias);
        }
        match tile.columns {
            16 => weigh::<16>(scores, &mut self.largest, &mut self.total, self.sums),
            32 => weigh::<32>(scores, &mut self.largest, &mut self.total, self.sums),
            _ => unreachable!("no tile has so many columns"),
        }
        let (values, weights) = (prepared.values(block), N::stacked(scores, tile.columns, room));
        let depth = count.div_ceil(N::PER);
        for (sums, values) in
            self.sums.chunks_exact_mut(tile.rows * tile.columns).zip(values.chunks_exact(depth * tile.rows))
        {
            tile.multiply(values, weights, depth, true, sums);
        }
    }

    /// The answer of one query.
    fn result(&self, lanes: usize, lane: usize, row: &mut [f32]) {
        let share = 1.0 / self.total[lane];
        for (to, sums) in row.iter_mut().zip(self.sums.chunks_exact(lanes)) {
            *to = sums[lane] * share;
        }
    }
}

/// Adds to scores, `[key][query]`, what belongs to queries from `first` on and keys from `start` on.
fn add_bias(scores: &mut [f32], lanes: usize, (first, end): (usize, usize), start: usize, bias: &Bias<'_>) {
    let [_, _, per_query, per_key] = bias.strides;
    for (key, scores) in scores.chunks_exact_mut(lanes).enumerate() {
        let at = (start + key) * per_key;
        for (score, query) in scores.iter_mut().zip(first..end) {
            *score += bias.values[at + query * per_query];
        }
    }
}

/// Turns scores, `[key][query]`, into weights, and brings what was summed so far to the same scale.
fn weigh<const LANES: usize>(
    scores: &mut [f32],
    largest: &mut [f32; WIDEST],
    total: &mut [f32; WIDEST],
    sums: &mut [f32],
) {
    let scores = scores.as_chunks_mut::<LANES>().0;
    let (Some(largest), Some(total)) = (largest.first_chunk_mut::<LANES>(), total.first_chunk_mut::<LANES>()) else {
        unreachable!("no tile has more than {WIDEST} columns")
    };
    let shrunk = if LANES == 16 {
        weigh_lanes(scores.as_flattened_mut(), largest, total)
    } else {
        weigh_wide(scores.as_flattened_mut(), largest, total)
    };
    if let Some(factors) = shrunk {
        shrink(sums, &factors[..LANES]);
    }
}

/// The body of [`weigh_lanes`] and [`weigh_wide`].
#[inline(always)]
fn weights<const LANES: usize>(scores: &mut [f32], largest: &mut [f32], total: &mut [f32]) -> Option<[f32; WIDEST]> {
    let scores = scores.as_chunks_mut::<LANES>().0;
    let mut top = [0f32; LANES];
    top.copy_from_slice(&largest[..LANES]);
    let before = top;
    for i in 0..scores.len() {
        for lane in 0..LANES {
            top[lane] = if scores[i][lane] > top[lane] { scores[i][lane] } else { top[lane] };
        }
    }
    let mut sum = [0f32; LANES];
    for i in 0..scores.len() {
        for lane in 0..LANES {
            let weight = exp(scores[i][lane] - top[lane]);
            scores[i][lane] = weight;
            sum[lane] += weight;
        }
    }
    let mut factors = [1f32; WIDEST];
    for lane in 0..LANES {
        factors[lane] = exp(before[lane] - top[lane]);
        total[lane] = total[lane] * factors[lane] + sum[lane];
    }
    largest[..LANES].copy_from_slice(&top);
    (before != top).then_some(factors)
}

multiversion! {
    fn weigh_lanes(scores: &mut [f32], largest: &mut [f32], total: &mut [f32]) -> Option<[f32; WIDEST]> {
        weights::<16>(scores, largest, total)
    }
}

multiversion! {
    fn weigh_wide(scores: &mut [f32], largest: &mut [f32], total: &mut [f32]) -> Option<[f32; WIDEST]> {
        weights::<32>(scores, largest, total)
    }
}

multiversion! {
    /// Multiplies each row with the factors.
    fn shrink(sums: &mut [f32], factors: &[f32]) {
        for row in sums.chunks_exact_mut(factors.len()) {
            for i in 0..factors.len() {
                row[i] *= factors[i];
            }
        }
    }
}
