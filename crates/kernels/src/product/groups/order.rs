//! The order in which the tile kernel reads: panels of a few rows, group after group.

use rayon::prelude::*;

use super::tile::{Operand, Tile};
use super::{DEPTH, GROUP, Group, GroupRows, PIECE};
use crate::multiversion::multiversion;

/// All rows of x: lanes as `[piece of DEPTH columns][panel][lane of the row][row in panel]`, and for each group the scale and
/// the scaled sum of its numbers as `[piece][panel][group][2][row in panel]`.
pub(super) struct Left<'a> {
    pub(super) lanes: &'a [u32],
    pub(super) scales: &'a [f32],
    /// Rows in whole panels.
    pub(super) rows: usize,
}

impl<'a> Left<'a> {
    /// Some groups from column `start` on, of `tall` rows from `top` on.
    pub(super) fn part(
        &self,
        (start, groups): (usize, usize),
        (top, tall): (usize, usize),
        tile: &Tile,
    ) -> Operand<'a> {
        let (lanes, scales) = (groups * GROUP / tile.per, groups * 2);
        Operand {
            lanes: &self.lanes[self.rows * (start / tile.per) + top * lanes..][..tall * lanes],
            scales: &self.scales[self.rows * (start / GROUP * 2) + top * scales..][..tall * scales],
            starts: &[],
        }
    }
}

/// Rounds all rows of x, `[n, columns]`; rows that the last panel lacks are 0.
pub(super) fn round(x: &[f32], columns: usize, tile: &Tile, lanes: &mut [u32], scales: &mut [f32]) {
    let tall = (x.len() / columns).next_multiple_of(tile.rows);
    let pieces = lanes.chunks_mut(tall * DEPTH / tile.per).zip(scales.chunks_mut(tall * PIECE * 2));
    for (piece, (lanes, scales)) in pieces.enumerate() {
        let groups = scales.len() / tall / 2;
        let panels = lanes.par_chunks_exact_mut(tile.rows * groups * GROUP / tile.per);
        let panels = panels.zip(scales.par_chunks_exact_mut(tile.rows * groups * 2)).with_min_len(8);
        panels.enumerate().for_each(|(panel, (lanes, scales))| {
            let lanes = lanes.chunks_exact_mut(tile.rows * GROUP / tile.per);
            for (group, (lanes, scales)) in lanes.zip(scales.chunks_exact_mut(2 * tile.rows)).enumerate() {
                for row in 0..tile.rows {
                    let at = (panel * tile.rows + row) * columns + piece * DEPTH + group * GROUP;
                    let mut numbers = [0; GROUP];
                    let (scale, sum) = match x.get(at..at + GROUP).and_then(|x| x.first_chunk()) {
                        Some(x) => rounded(x, &mut numbers),
                        None => (0.0, 0.0),
                    };
                    (scales[row], scales[tile.rows + row]) = (scale, sum);
                    spread(&numbers, tile.offset, tile, row, tile.rows, lanes);
                }
            }
        });
    }
}

/// Writes a group of one row into its panel of `rows`.
fn spread(numbers: &[i8; GROUP], offset: u8, tile: &Tile, row: usize, rows: usize, lanes: &mut [u32]) {
    if tile.per == 4 {
        for (lane, four) in numbers.as_chunks::<4>().0.iter().enumerate() {
            lanes[lane * rows + row] =
                u32::from_le_bytes(four.map(|number| number.cast_unsigned().wrapping_add(offset)));
        }
    } else {
        for (lane, [low, high]) in numbers.as_chunks::<2>().0.iter().enumerate() {
            lanes[lane * rows + row] =
                u32::from(i16::from(*low).cast_unsigned()) | u32::from(i16::from(*high).cast_unsigned()) << 16;
        }
    }
}

/// Added to a number below 2²², it leaves the nearest whole number in the lowest bits, the even one of two.
const ROUND: f32 = 12_582_912.0;

multiversion! {
    /// Rounds a group; tells what its numbers are to be multiplied by, and their sum times that. Both are NaN where a number
    /// is not finite.
    fn rounded(x: &[f32; GROUP], numbers: &mut [i8; GROUP]) -> (f32, f32) {
        // without their signs the bits of floats are in the order of their sizes
        let mut largest = [0u32; 16];
        for i in 0..GROUP {
            largest[i % 16] = largest[i % 16].max(x[i].to_bits() & !(1 << 31));
        }
        let largest = f32::from_bits(largest.into_iter().fold(0, u32::max));
        let scale = if largest.is_finite() { largest / 127.0 } else { f32::NAN };
        // a scale that is too small to divide by belongs to numbers that are as good as 0
        let inverse = if scale >= f32::MIN_POSITIVE { 127.0 / largest } else { 0.0 };
        let mut sum = 0i32;
        for i in 0..GROUP {
            let number = (x[i] * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
            numbers[i] = number as i8;
            sum = sum.wrapping_add(number);
        }
        (scale, scale * sum as f32)
    }
}

/// Brings some groups of `count` rows of W from `first` on into panels: lanes as `[panel][lane of the row][row in panel]`, for
/// each group the scales and floors as `[panel][group][2][row in panel]`, and what its sums start at as
/// `[panel][group][row in panel]`.
pub(super) fn rows_of<'a>(
    w: &dyn GroupRows,
    (first, count): (usize, usize),
    (start, groups): (usize, usize),
    tile: &Tile,
    lanes: &'a mut [u32],
    scales: &'a mut [f32],
) -> Operand<'a> {
    let panel = tile.columns;
    let width = count.next_multiple_of(panel);
    let each = GROUP / tile.per;
    let (lanes, starts) = lanes.split_at_mut(width * groups * each);
    let (starts, scales) = (&mut starts[..width * groups], &mut scales[..width * groups * 2]);
    let panels = lanes.chunks_exact_mut(panel * groups * each);
    let panels = panels.zip(scales.chunks_exact_mut(panel * groups * 2)).zip(starts.chunks_exact_mut(panel * groups));
    for (p, ((lanes, scales), starts)) in panels.enumerate() {
        for row in 0..panel {
            let mut all = [Group::ZERO; PIECE];
            let all = &mut all[..groups];
            if p * panel + row < count {
                w.groups(first + p * panel + row, start, all);
            }
            for (g, group) in all.iter().enumerate() {
                spread(&group.numbers, 0, tile, row, panel, &mut lanes[g * panel * each..]);
                scales[g * 2 * panel + row] = group.scale;
                scales[(g * 2 + 1) * panel + row] = group.floor;
                let sum: i32 = group.numbers.iter().map(|number| i32::from(*number)).sum();
                starts[g * panel + row] = (-i32::from(tile.offset) * sum).cast_unsigned();
            }
        }
    }
    Operand { lanes, scales, starts }
}
