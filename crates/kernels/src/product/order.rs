//! The order in which the tile kernel reads: panels of a few rows, column after column.

use rayon::prelude::*;

use super::number::Number;
use super::{DEPTH, Rows};

/// Numbers of x in order.
pub(crate) fn length(n: usize, panel: usize, columns: usize) -> usize {
    n.next_multiple_of(panel) * columns
}

/// Brings all rows of x, `[n, columns]`, into panels: `[piece of DEPTH numbers][panel][number of the row][row in panel]`. Rows
/// that the last panel lacks are 0.
pub(crate) fn all<N: Number>(x: &[f32], columns: usize, panel: usize, ordered: &mut [N]) {
    let tall = (x.len() / columns).next_multiple_of(panel);
    let read = |row: usize, start: usize, to: &mut [N]| match x.get(row * columns..(row + 1) * columns) {
        Some(from) => N::read(&from[start * N::PER..], to),
        None => to.fill(N::default()),
    };
    let pieces: Vec<(usize, &mut [N])> = ordered.chunks_mut(tall * DEPTH).enumerate().collect();
    pieces.into_par_iter().for_each(|(piece, ordered)| {
        let depth = ordered.len() / tall;
        ordered.par_chunks_exact_mut(panel * depth).with_min_len(16).enumerate().for_each(|(p, to)| {
            fill(panel, |row, to| read(p * panel + row, piece * DEPTH, to), to);
        });
    });
}

/// The ordered panels of some numbers of each row, from row `top` on, `tall` rows.
pub(crate) fn part<N>(ordered: &[N], rows: usize, (start, depth): (usize, usize), (top, tall): (usize, usize)) -> &[N] {
    &ordered[rows * start + top * depth..][..tall * depth]
}

/// Brings `count` rows of W from `first` on, numbers from `start` on, into panels `[panel][number of the row][row in panel]`.
pub(crate) fn rows_of<N: Number>(
    w: &dyn Rows,
    (first, count): (usize, usize),
    start: usize,
    panel: usize,
    ordered: &mut [N],
) {
    let depth = ordered.len() / count.next_multiple_of(panel);
    for (p, to) in ordered.chunks_exact_mut(panel * depth).enumerate() {
        let read = |row: usize, to: &mut [N]| match p * panel + row {
            at if at < count => N::read_row(w, first + at, start * N::PER, to),
            _ => to.fill(N::default()),
        };
        fill(panel, read, to);
    }
}

/// Fills a panel, `[number of the row][row]` of at most [`DEPTH`] numbers, whose rows `read` gives.
pub(crate) fn fill<N: Copy + Default>(panel: usize, read: impl Fn(usize, &mut [N]), to: &mut [N]) {
    match panel {
        4 => turn::<N, 4>(read, to),
        6 => turn::<N, 6>(read, to),
        12 => turn::<N, 12>(read, to),
        16 => turn::<N, 16>(read, to),
        32 => turn::<N, 32>(read, to),
        _ => unreachable!("no tile has this side"),
    }
}

/// Reads `PANEL` rows and writes their columns.
fn turn<N: Copy + Default, const PANEL: usize>(read: impl Fn(usize, &mut [N]), to: &mut [N]) {
    let mut rows = [[N::default(); DEPTH]; PANEL];
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
