//! Rotary position embedding on neighbouring pairs.

use rayon::prelude::*;

use crate::element::Element;
use crate::multiversion::multiversion;
use crate::rows_per_task;

/// Rotates each pair (2i, 2i+1) of every row: (a, b) → (a cos − b sin, b cos + a sin).
///
/// `input` is `[blocks, rows, row]`; `cos` and `sin` are `[rows, row / 2]` and serve every block.
///
/// # Panics
/// Where the lengths do not fit or `row` is odd.
pub fn rotate_pairs<T: Element>(input: &[T], row: usize, cos: &[f32], sin: &[f32], output: &mut [T]) {
    let half = row / 2;
    assert!(row > 0 && row.is_multiple_of(2) && cos.len() == sin.len() && cos.len().is_multiple_of(half));
    let rows = cos.len() / half;
    assert!(input.len() == output.len() && input.len().is_multiple_of(rows.max(1) * row));
    let task = rows_per_task(row);
    output.par_chunks_mut(row * task).zip(input.par_chunks(row * task)).enumerate().for_each_init(
        || vec![0f32; row],
        |scratch, (t, (o, i))| {
            for (k, (o, i)) in o.chunks_exact_mut(row).zip(i.chunks_exact(row)).enumerate() {
                let at = (t * task + k) % rows * half;
                T::load(i, scratch);
                rotate(scratch, &cos[at..at + half], &sin[at..at + half]);
                T::store(scratch, o);
            }
        },
    );
}

multiversion! {
    fn rotate(row: &mut [f32], cos: &[f32], sin: &[f32]) {
        for ((pair, c), s) in row.chunks_exact_mut(2).zip(cos).zip(sin) {
            let (a, b) = (pair[0], pair[1]);
            pair[0] = a * c - b * s;
            pair[1] = b * c + a * s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_turn_by_their_own_angle_in_every_block() {
        let (blocks, rows, row) = (2, 3, 8);
        let angles: Vec<f32> = (0..rows * row / 2).map(|i| i as f32 * 0.3).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let x: Vec<f32> = (0..blocks * rows * row).map(|i| (i % 11) as f32 - 5.0).collect();
        let mut y = vec![0f32; x.len()];
        rotate_pairs(&x, row, &cos, &sin, &mut y);
        for (i, (x, y)) in x.chunks(2).zip(y.chunks(2)).enumerate() {
            let (s, c) = angles[i % angles.len()].sin_cos();
            assert!((y[0] - (x[0] * c - x[1] * s)).abs() < 1e-6 && (y[1] - (x[1] * c + x[0] * s)).abs() < 1e-6);
        }
    }
}
