//! Convolution by the definition: gathering what each output pixel sees, or, where outputs are few, spreading what each
//! input pixel gives.

use rayon::prelude::*;

use super::Conv;
use crate::product::order::{self, fill};
use crate::product::tile::Tile;
use crate::product::{DEPTH, Finish, Plain, product};
use crate::scratch::lend;
use crate::shared::Shared;

/// Output pixels in a task.
const PIXELS: usize = 192;

/// Numbers that all taps together may give per pixel for spreading to take less than gathering.
const FEW: usize = 64;
/// Numbers that are spread at a time: 16 MiB.
const SPREAD: usize = 1 << 22;

impl Conv {
    /// Whether an input pixel gives so little that it is spread.
    pub(super) fn spreads(&self) -> bool {
        matches!(self.kind, super::ConvKind::Same { .. }) && self.weights.len() / self.input <= FEW
    }

    /// Convolves one picture: what every input pixel gives to each tap is one product, and its parts are added where they
    /// belong.
    pub(super) fn spread(&self, x: &[f32], (height, width): (usize, usize), onto: Option<&[f32]>, y: &mut [f32]) {
        let (kernel, gives) = (self.kind.kernel(), self.weights.len() / self.input);
        let weights = Plain::new(&self.weights, self.input);
        let band = (SPREAD / (gives * width)).saturating_sub(kernel).max(1);
        for first in (0..height).step_by(band) {
            let rows = first..height.min(first + band);
            // what the rows of this band see
            let seen = rows.start.saturating_sub(kernel / 2)..height.min(rows.end + kernel / 2);
            lend(seen.len() * width * gives, |given| {
                let x = &x[seen.start * width * self.input..seen.end * width * self.input];
                product(x, &weights, &Finish::default(), given);
                let y = &mut y[rows.start * width * self.output..rows.end * width * self.output];
                y.par_chunks_exact_mut(width * self.output).enumerate().for_each(|(i, y)| {
                    let row = rows.start + i;
                    let at = row * width * self.output;
                    match onto {
                        Some(onto) => y.copy_from_slice(&onto[at..at + width * self.output]),
                        None => y.fill(0.0),
                    }
                    for tap in 0..kernel * kernel {
                        if let Some(from) = self.kind.seen(row, tap / kernel, height) {
                            let given = &given[(from - seen.start) * width * gives..][..width * gives];
                            self.collect(given, tap, y);
                        }
                    }
                    for y in y.chunks_exact_mut(self.output) {
                        y.iter_mut().zip(&self.bias).for_each(|(y, bias)| *y += bias);
                    }
                });
            });
        }
    }

    /// Adds to a row of the output what one tap sees of a row of the input, `[column][output][tap]`.
    fn collect(&self, given: &[f32], tap: usize, y: &mut [f32]) {
        let (kernel, width) = (self.kind.kernel(), y.len() / self.output);
        let taps = kernel * kernel;
        for (column, y) in y.chunks_exact_mut(self.output).enumerate() {
            if let Some(from) = self.kind.seen(column, tap % kernel, width) {
                let given = &given[from * taps * self.output..][..taps * self.output];
                for (o, y) in y.iter_mut().enumerate() {
                    *y += given[o * taps + tap];
                }
            }
        }
    }

    /// Convolves one picture.
    pub(super) fn gather(&self, x: &[f32], size: (usize, usize), onto: Option<&[f32]>, y: &mut [f32]) {
        let tile = Tile::of_level();
        let sees = self.weights.len() / self.output;
        let wide = self.output.next_multiple_of(tile.columns);
        let weights = Plain::new(&self.weights, sees);
        lend(wide * sees, |ordered| {
            for (piece, ordered) in ordered.chunks_mut(wide * DEPTH).enumerate() {
                order::rows_of(&weights, (0, self.output), piece * DEPTH, tile.columns, ordered);
            }
            let (ordered, pixels) = (&*ordered, y.len() / self.output);
            let y = Shared::new(y);
            (0..pixels.div_ceil(PIXELS)).into_par_iter().for_each(|task| {
                let first = task * PIXELS;
                let count = PIXELS.min(pixels - first);
                #[expect(unsafe_code, reason = "tasks write pixels of their own")]
                // SAFETY: no other task has these pixels.
                let y = unsafe { y.part(first * self.output, count * self.output) };
                let onto = onto.map(|onto| &onto[first * self.output..][..count * self.output]);
                self.some(tile, ordered, (x, size), first, onto, y);
            });
        });
    }

    /// Computes neighbouring output pixels from `first` on.
    fn some(
        &self,
        tile: &Tile,
        ordered: &[f32],
        (x, size): (&[f32], (usize, usize)),
        first: usize,
        onto: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let (count, sees) = (y.len() / self.output, self.weights.len() / self.output);
        let (tall, wide) = (count.next_multiple_of(tile.rows), ordered.len() / sees);
        lend(tall * wide, |sums| {
            lend(tall * DEPTH, |seen| {
                for start in (0..sees).step_by(DEPTH) {
                    let depth = DEPTH.min(sees - start);
                    let seen = &mut seen[..tall * depth];
                    for (p, panel) in seen.chunks_exact_mut(tile.rows * depth).enumerate() {
                        let read = |row: usize, to: &mut [f32]| match p * tile.rows + row {
                            at if at < count => self.see(x, size, first + at, start, to),
                            _ => to.fill(0.0),
                        };
                        fill(tile.rows, read, panel);
                    }
                    tile.multiply(seen, &ordered[start * wide..][..depth * wide], depth, start > 0, sums);
                }
            });
            for (i, (y, sums)) in y.chunks_exact_mut(self.output).zip(sums.chunks_exact(wide)).enumerate() {
                for (c, y) in y.iter_mut().enumerate() {
                    *y = sums[c] + self.bias[c] + onto.map_or(0.0, |onto| onto[i * self.output + c]);
                }
            }
        });
    }

    /// What an output pixel sees, `[tap][input]`, from number `start` on.
    fn see(&self, x: &[f32], (height, width): (usize, usize), pixel: usize, start: usize, to: &mut [f32]) {
        let (columns, kernel) = (self.kind.side(width), self.kind.kernel());
        let (row, column) = (pixel / columns, pixel % columns);
        let mut done = 0;
        while done < to.len() {
            let (tap, channel) = ((start + done) / self.input, (start + done) % self.input);
            let length = (self.input - channel).min(to.len() - done);
            let to = &mut to[done..done + length];
            let at = self.kind.seen(row, tap / kernel, height).zip(self.kind.seen(column, tap % kernel, width));
            match at {
                Some((row, column)) => {
                    to.copy_from_slice(&x[(row * width + column) * self.input + channel..][..length]);
                }
                None => to.fill(0.0),
            }
            done += length;
        }
    }
}
