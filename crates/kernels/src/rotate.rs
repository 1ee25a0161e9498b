//! Rotary position embedding on neighbouring pairs.

use rayon::prelude::*;

use crate::multiversion::multiversion;
use crate::rows_per_task;

/// Rotates each pair (2i, 2i+1) of every row: (a, b) → (a cos − b sin, b cos + a sin).
///
/// `input` is `[blocks, tokens, heads, row]`; `cos` and `sin` are `[tokens, row / 2]` and serve every block and head.
///
/// # Panics
/// Where the lengths do not fit or `row` is odd.
pub fn rotate_pairs(input: &[f32], row: usize, heads: usize, cos: &[f32], sin: &[f32], output: &mut [f32]) {
    let half = row / 2;
    assert!(row > 0 && row.is_multiple_of(2) && cos.len() == sin.len() && cos.len().is_multiple_of(half));
    let tokens = cos.len() / half;
    assert!(input.len() == output.len() && input.len().is_multiple_of((tokens * heads).max(1) * row));
    let task = rows_per_task(row);
    output.par_chunks_mut(row * task).zip(input.par_chunks(row * task)).enumerate().for_each(|(t, (o, i))| {
        for (k, (o, i)) in o.chunks_exact_mut(row).zip(i.chunks_exact(row)).enumerate() {
            let at = (t * task + k) / heads % tokens * half;
            rotate(i, &cos[at..at + half], &sin[at..at + half], o);
        }
    });
}

multiversion! {
    fn rotate(row: &[f32], cos: &[f32], sin: &[f32], output: &mut [f32]) {
        let (from, to) = (row.as_chunks::<2>().0, output.as_chunks_mut::<2>().0);
        for i in 0..from.len().min(to.len()).min(cos.len()).min(sin.len()) {
            let [a, b] = from[i];
            to[i] = [a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]];
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
        rotate_pairs(&x, row, 1, &cos, &sin, &mut y);
        for (i, (x, y)) in x.chunks(2).zip(y.chunks(2)).enumerate() {
            let (s, c) = angles[i % angles.len()].sin_cos();
            assert!((y[0] - (x[0] * c - x[1] * s)).abs() < 1e-6 && (y[1] - (x[1] * c + x[0] * s)).abs() < 1e-6);
        }
        let (mut twice, mut doubled) = (vec![0f32; 2 * x.len()], Vec::new());
        x.chunks(row).for_each(|x| doubled.extend([x, x].concat()));
        rotate_pairs(&doubled, row, 2, &cos, &sin, &mut twice);
        for (twice, once) in twice.chunks(2 * row).zip(y.chunks(row)) {
            assert_eq!(twice, [once, once].concat(), "heads of a token turn alike");
        }
    }
}
