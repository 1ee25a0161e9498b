//! Products with a few rows of x: each row of W is read once and multiplied where it lies.

use rayon::prelude::*;

use super::{DEPTH, Finish, Rows};
use crate::multiversion::multiversion;
use crate::shared::Shared;

/// Rows of x for which this is the faster way.
pub(super) const MOST: usize = 4;
/// Rows of W in a task.
const TASK: usize = 32;

/// `output = finish(x Wᵀ)`.
pub(super) fn product(x: &[f32], w: &dyn Rows, finish: &Finish<'_>, output: &mut [f32]) {
    let (rows, columns) = (w.rows(), w.columns());
    let n = x.len() / columns;
    let output = Shared::new(output);
    (0..rows.div_ceil(TASK)).into_par_iter().for_each(|task| {
        let first = task * TASK;
        let count = TASK.min(rows - first);
        let mut sums = [[0f32; TASK]; MOST];
        for i in 0..count {
            for (sums, sum) in sums.iter_mut().zip(of_row(x, w, first + i)) {
                sums[i] = sum;
            }
        }
        for (row, sums) in sums.iter_mut().enumerate().take(n) {
            finish.apply(row, first, n, rows, &mut sums[..count]);
            #[expect(unsafe_code, reason = "tasks write rectangles")]
            // SAFETY: no other task has these rows of W.
            let to = unsafe { output.part(row * rows + first, count) };
            to.copy_from_slice(&sums[..count]);
        }
    });
}

/// One row of W with every row of x.
fn of_row(x: &[f32], w: &dyn Rows, row: usize) -> [f32; MOST] {
    let columns = w.columns();
    let mut sums = [0f32; MOST];
    let mut decoded = [0f32; DEPTH];
    for start in (0..columns).step_by(DEPTH) {
        let depth = DEPTH.min(columns - start);
        w.read(row, start, &mut decoded[..depth]);
        let values = &decoded[..depth];
        for (sum, x) in sums.iter_mut().zip(x.chunks_exact(columns)) {
            *sum += dot(values, &x[start..start + depth]);
        }
    }
    sums
}

multiversion! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0f32; 32];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
        for i in 0..a.len().min(b.len()) {
            let (a, b) = (&a[i], &b[i]);
            for lane in 0..32 {
                lanes[lane] += a[lane] * b[lane];
            }
        }
        let mut sum = 0.0;
        for i in 0..a_rest.len().min(b_rest.len()) {
            sum += a_rest[i] * b_rest[i];
        }
        for lane in lanes {
            sum += lane;
        }
        sum
    }
}
