//! Softmax over rows.

use rayon::prelude::*;

use crate::element::Element;
use crate::math::{exp, max, sum};
use crate::multiversion::multiversion;
use crate::rows_per_task;

/// Replaces every row of length `row` by its softmax after multiplying by `scale`.
///
/// A row of nothing but −∞ becomes NaN, as everywhere.
///
/// # Panics
/// Where `row` is 0 or does not divide the slice.
pub fn softmax_rows<T: Element>(values: &mut [T], row: usize, scale: f32) {
    assert!(row > 0 && values.len().is_multiple_of(row));
    values.par_chunks_mut(row * rows_per_task(row)).for_each_init(
        || vec![0f32; row],
        |scratch, rows| {
            for values in rows.chunks_exact_mut(row) {
                T::load(values, scratch);
                softmax(scratch, scale);
                T::store(scratch, values);
            }
        },
    );
}

multiversion! {
    fn softmax(row: &mut [f32], scale: f32) {
        let largest = max(row) * scale;
        for x in row.iter_mut() {
            *x = exp(*x * scale - largest);
        }
        let inverse = 1.0 / sum(row);
        for x in row.iter_mut() {
            *x *= inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_agrees_with_the_formula() {
        let (rows, row, scale) = (7, 37, 0.4f32);
        let input: Vec<f32> = (0..rows * row).map(|i| ((i * 37 % 101) as f32 - 50.0) / 4.0).collect();
        let mut output = input.clone();
        softmax_rows(&mut output, row, scale);
        for r in 0..rows {
            let x = &input[r * row..][..row];
            let total: f64 = x.iter().map(|v| f64::from(v * scale).exp()).sum();
            for (v, y) in x.iter().zip(&output[r * row..]) {
                assert!((f64::from(*y) - f64::from(v * scale).exp() / total).abs() < 2e-7);
            }
        }
    }

    #[test]
    fn masked_places_get_exactly_nothing() {
        let mut row = [1.0, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        softmax_rows(&mut row, 4, 1.0);
        assert_eq!(row, [0.5, 0.0, 0.5, 0.0]);
    }
}
