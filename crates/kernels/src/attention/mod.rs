//! Softmax attention that never holds all scores.
//!
//! Queries are taken a panel of one tile's columns at a time, keys in blocks. The scores of a block lie as
//! `[key][query in panel]`, which is the order in which the next product reads them: softmax works down the columns, and
//! what it leaves is multiplied at once with the values to `[width][query in panel]`. Between blocks only the largest score
//! and the sum of each query are kept (Milakov and Gimelshein, 2018; Dao et al., 2022).

mod keys;
mod panel;

use rayon::prelude::*;

use crate::product::number::Number;
use crate::product::tile::Tile;
use crate::shared::Shared;
use keys::Prepared;
use panel::Panel;

/// Panels of queries in a task.
const PANELS: usize = 4;
/// Numbers of keys and values that are brought into order before queries pass: 64 MiB.
const PREPARED: usize = 1 << 24;

/// A tensor `[batch, heads, tokens, width]` in memory: the numbers of a head's token lie together, the rest where the
/// strides say.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// The numbers; the first is that of batch 0, head 0, token 0.
    pub values: &'a [f32],
    /// From a batch entry, a head and a token to the next.
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    fn row(&self, batch: usize, head: usize, token: usize, width: usize) -> &'a [f32] {
        let [b, h, t] = self.strides;
        &self.values[batch * b + head * h + token * t..][..width]
    }
}

/// What is added to the scores: `[batch, heads, queries, keys]` by strides, 0 for a dimension that is shared.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// From a batch entry, a head, a query and a key to the next.
    pub strides: [usize; 4],
}

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Batch entries.
    pub batch: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values: each serves `heads / shared` neighbouring heads of queries.
    pub shared: usize,
    /// Tokens that ask.
    pub queries: usize,
    /// Tokens that answer.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Attention {
    /// softmax(q kᵀ · scale + bias) v to `[batch, queries, heads, width]`, heads side by side.
    ///
    /// A query whose every score is −∞ becomes NaN, as everywhere.
    ///
    /// # Panics
    /// Where the lengths do not fit or `shared` does not divide `heads`.
    pub fn run(&self, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>, bias: Option<Bias<'_>>, output: &mut [f32]) {
        self.run_by::<f32>(Tile::of_level(), q, k, v, bias, output);
    }

    /// The same of queries, keys, values and weights rounded to bfloat16, summed in float32; [`halves_pay`](crate::halves_pay) says
    /// where that is faster.
    ///
    /// # Panics
    /// As [`Attention::run`].
    pub fn run_in_halves(&self, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>, bias: Option<Bias<'_>>, output: &mut [f32]) {
        self.run_by::<u32>(Tile::of_halves(), q, k, v, bias, output);
    }

    fn run_by<N: Number>(
        &self,
        tile: &Tile<N>,
        q: Heads<'_>,
        k: Heads<'_>,
        v: Heads<'_>,
        bias: Option<Bias<'_>>,
        output: &mut [f32],
    ) {
        assert!(self.shared > 0 && self.heads.is_multiple_of(self.shared) && self.width > 0 && self.keys > 0);
        assert_eq!(output.len(), self.batch * self.queries * self.heads * self.width);
        if output.is_empty() {
            return;
        }
        let each = Prepared::length(self, tile);
        let sources = self.batch * self.shared;
        let together = (PREPARED / each).clamp(1, sources);
        let output = Shared::new(output);
        crate::together(|| {
            N::lend(together * each, |prepared| {
                for first in (0..sources).step_by(together) {
                    let count = together.min(sources - first);
                    let prepared = &mut prepared[..count * each];
                    prepared.par_chunks_exact_mut(each).enumerate().for_each(|(i, to)| {
                        let (batch, head) = ((first + i) / self.shared, (first + i) % self.shared);
                        Prepared::fill(
                            self,
                            tile,
                            |token| k.row(batch, head, token, self.width),
                            |token| v.row(batch, head, token, self.width),
                            to,
                        );
                    });
                    let prepared = &*prepared;
                    self.ask(tile, (first, count), prepared, q, bias, &output);
                }
            });
        });
    }

    /// Answers all queries of the heads whose keys and values are prepared.
    fn ask<N: Number>(
        &self,
        tile: &Tile<N>,
        (first, count): (usize, usize),
        prepared: &[N],
        q: Heads<'_>,
        bias: Option<Bias<'_>>,
        output: &Shared<'_>,
    ) {
        let each = prepared.len() / count;
        let group = self.heads / self.shared;
        let blocks = self.queries.div_ceil(PANELS * tile.columns);
        (0..count * group * blocks).into_par_iter().with_max_len(1).for_each(|task| {
            let (source, task) = (task / (group * blocks), task % (group * blocks));
            let (member, block) = (task / blocks, task % blocks);
            let (batch, shared) = ((first + source) / self.shared, (first + source) % self.shared);
            let head = shared * group + member;
            let prepared = Prepared::view(self, tile, &prepared[source * each..][..each]);
            let bias = bias
                .map(|bias| Bias { values: &bias.values[batch * bias.strides[0] + head * bias.strides[1]..], ..bias });
            let start = block * PANELS * tile.columns;
            let end = self.queries.min(start + PANELS * tile.columns);
            let write = |query: usize, values: &[f32]| {
                let at = ((batch * self.queries + query) * self.heads + head) * self.width;
                #[expect(unsafe_code, reason = "tasks write rows of their own")]
                // SAFETY: no other task has these queries of this head.
                unsafe { output.part(at, self.width) }.copy_from_slice(values);
            };
            Panel::answer(
                self,
                tile,
                &prepared,
                start..end,
                |query| q.row(batch, head, query, self.width),
                bias.as_ref(),
                write,
            );
        });
    }
}

#[cfg(test)]
mod tests;
