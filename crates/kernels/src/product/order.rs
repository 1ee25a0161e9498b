//! The order in which the tile kernel reads: panels of a few rows, column after column.

use rayon::prelude::*;

use super::{DEPTH, Rows};

/// Numbers of x in order.
pub(crate) fn length(n: usize, panel: usize, columns: usize) -> usize {
    n.next_multiple_of(panel) * columns
}

/// Brings all rows of x, `[n, columns]`, into panels: `[piece of DEPTH columns][panel][column][row in panel]`. Rows that
/// the last panel lacks are 0.
pub(crate) fn all(x: &[f32], columns: usize, panel: usize, ordered: &mut [f32]) {
    let tall = (x.len() / columns).next_multiple_of(panel);
    let read = |row: usize, start: usize, to: &mut [f32]| match x.get(row * columns + start..) {
        Some(from) if from.len() >= to.len() => to.copy_from_slice(&from[..to.len()]),
        _ => to.fill(0.0),
    };
    let pieces: Vec<(usize, &mut [f32])> = ordered.chunks_mut(tall * DEPTH).enumerate().collect();
    pieces.into_par_iter().for_each(|(piece, ordered)| {
        let depth = ordered.len() / tall;
        ordered.par_chunks_exact_mut(panel * depth).with_min_len(16).enumerate().for_each(|(p, to)| {
            fill(panel, |row, to| read(p * panel + row, piece * DEPTH, to), to);
        });
    });
}

/// The ordered panels of some columns, from row `top` on, `tall` rows.
pub(crate) fn part(
    ordered: &[f32],
    rows: usize,
    (start, depth): (usize, usize),
    (top, tall): (usize, usize),
) -> &[f32] {
    &ordered[rows * start + top * depth..][..tall * depth]
}

/// Brings `count` rows of W from `first` on, columns from `start` on, into panels `[panel][column][row in panel]`.
pub(crate) fn rows_of(w: &dyn Rows, (first, count): (usize, usize), start: usize, panel: usize, ordered: &mut [f32]) {
    let depth = ordered.len() / count.next_multiple_of(panel);
    for (p, to) in ordered.chunks_exact_mut(panel * depth).enumerate() {
        let read = |row: usize, to: &mut [f32]| match p * panel + row {
            at if at < count => w.read(first + at, start, to),
            _ => to.fill(0.0),
        };
        fill(panel, read, to);
    }
}

/// Fills a panel, `[column][row]` of at most [`DEPTH`] columns, whose rows `read` gives.
pub(crate) fn fill(panel: usize, read: impl Fn(usize, &mut [f32]), to: &mut [f32]) {
    match panel {
        4 => turn::<4>(read, to),
        6 => turn::<6>(read, to),
        12 => turn::<12>(read, to),
        16 => turn::<16>(read, to),
        32 => turn::<32>(read, to),
        _ => unreachable!("no tile has this side"),
    }
}

/// Reads `PANEL` rows and writes their columns.
fn turn<const PANEL: usize>(read: impl Fn(usize, &mut [f32]), to: &mut [f32]) {
    let mut rows = [[0f32; DEPTH]; PANEL];
    let columns = to.as_chunks_mut::<PANEL>().0;
    let depth = columns.len().min(DEPTH);
    for (at, row) in rows.iter_mut().enumerate() {
        read(at, &mut row[..depth]);
    }
    for q in 0..depth {
        let column = &mut columns[q];
        for row in 0..PANEL {
            column[row] = rows[row][q];
        }
    }
}
