//! Normalisations, with what usually follows them folded in.

use rayon::prelude::*;

use crate::activation::{Activation, activate_chunk};
use crate::element::Element;
use crate::math::{sum, sum_of};
use crate::multiversion::multiversion;
use crate::{GRAIN, rows_per_task};

/// Layer norm of each row: (x − mean) / √(var + eps) · `gain` + `offset`.
///
/// `gain` and `offset` hold one row per `rows / gain_rows` rows of the input: one row for a norm with weights, one per
/// batch entry for a modulated norm, none (empty) for neither.
///
/// # Panics
/// Where the lengths do not fit.
pub fn layer_norm<T: Element>(input: &[T], row: usize, eps: f32, gain: &[f32], offset: &[f32], output: &mut [T]) {
    assert!(row > 0 && input.len().is_multiple_of(row) && input.len() == output.len());
    assert_eq!(gain.len(), offset.len());
    let share = Share::new(input.len() / row, row, gain.len());
    each_row(input, row, output, |index, values| {
        standardise(values, eps);
        if let Some(at) = share.of(index) {
            scale_and_add(values, &gain[at..at + row], &offset[at..at + row]);
        }
    });
}

/// RMS norm of each row: x / √(mean(x²) + eps) · `gain`, one gain for all rows.
///
/// # Panics
/// Where the lengths do not fit.
pub fn rms_norm<T: Element>(input: &[T], eps: f32, gain: &[f32], output: &mut [T]) {
    let row = gain.len();
    assert!(row > 0 && input.len().is_multiple_of(row) && input.len() == output.len());
    each_row(input, row, output, |_, values| rms(values, eps, gain));
}

/// Group norm of `[batch, channels, area]`, then optionally SiLU.
///
/// Statistics are taken in float64 over pieces of fixed size, so neither the size of the picture nor the number of
/// threads changes them.
///
/// # Panics
/// Where the lengths do not fit or `groups` does not divide the channels.
pub fn group_norm<T: Element>(shape: &GroupNorm<'_>, input: &[T], output: &mut [T]) {
    let GroupNorm { channels, area, groups, eps, gain, offset, silu } = *shape;
    assert!(groups > 0 && channels.is_multiple_of(groups) && gain.len() == channels && offset.len() == channels);
    let group = channels / groups * area;
    assert!(group > 0 && input.len().is_multiple_of(channels * area) && input.len() == output.len());
    for (index, (x, y)) in input.chunks_exact(group).zip(output.chunks_exact_mut(group)).enumerate() {
        let (mean, inverse) = moments(x, eps);
        let first = index % groups * (channels / groups);
        y.par_chunks_mut(area).zip(x.par_chunks(area)).enumerate().for_each(|(c, (y, x))| {
            let a = inverse * gain[first + c];
            let b = offset[first + c] - mean * a;
            y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| affine(x, a, b, silu, y));
        });
    }
}

/// Sizes and weights of a group norm.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
    /// Channels of the input.
    pub channels: usize,
    /// Height · width.
    pub area: usize,
    /// Groups that share statistics.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// One weight per channel.
    pub gain: &'a [f32],
    /// One bias per channel.
    pub offset: &'a [f32],
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Which row of gains belongs to an input row.
struct Share {
    rows_per_gain: Option<usize>,
    row: usize,
}

impl Share {
    fn new(rows: usize, row: usize, gains: usize) -> Self {
        assert!(gains == 0 || (gains.is_multiple_of(row) && rows.is_multiple_of(gains / row)));
        Self { rows_per_gain: (gains > 0).then(|| (rows / (gains / row)).max(1)), row }
    }

    fn of(&self, index: usize) -> Option<usize> {
        self.rows_per_gain.map(|n| index / n * self.row)
    }
}

fn each_row<T: Element>(input: &[T], row: usize, output: &mut [T], apply: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_task(row);
    output.par_chunks_mut(row * rows).zip(input.par_chunks(row * rows)).enumerate().for_each_init(
        || vec![0f32; row],
        |scratch, (task, (o, i))| {
            for (k, (o, i)) in o.chunks_exact_mut(row).zip(i.chunks_exact(row)).enumerate() {
                T::load(i, scratch);
                apply(task * rows + k, scratch);
                T::store(scratch, o);
            }
        },
    );
}

multiversion! {
    fn standardise(values: &mut [f32], eps: f32) {
        let n = values.len() as f32;
        let mean = sum(values) / n;
        let variance = sum_of(values, |x| (x - mean) * (x - mean)) / n;
        let inverse = 1.0 / (variance + eps).sqrt();
        for x in values.iter_mut() {
            *x = (*x - mean) * inverse;
        }
    }
}

multiversion! {
    fn scale_and_add(values: &mut [f32], gain: &[f32], offset: &[f32]) {
        for ((x, g), o) in values.iter_mut().zip(gain).zip(offset) {
            *x = *x * g + o;
        }
    }
}

multiversion! {
    fn rms(values: &mut [f32], eps: f32, gain: &[f32]) {
        let mean_square = sum_of(values, |x| x * x) / values.len() as f32;
        let inverse = 1.0 / (mean_square + eps).sqrt();
        for (x, g) in values.iter_mut().zip(gain) {
            *x = *x * inverse * g;
        }
    }
}

/// Mean and 1 / √(variance + eps) of a whole group.
fn moments<T: Element>(values: &[T], eps: f32) -> (f32, f32) {
    const PIECE: usize = 4096;
    let total = |center: f64| -> (f64, f64) {
        let pieces: Vec<(f64, f64)> = values
            .par_chunks(PIECE)
            .map_init(
                || vec![0f32; PIECE],
                |scratch, piece| {
                    T::load(piece, &mut scratch[..piece.len()]);
                    piece_moments(&scratch[..piece.len()], center as f32)
                },
            )
            .collect();
        pieces.iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let n = values.len() as f64;
    let mean = total(0.0).0 / n;
    // about the mean rounded to float32: E[(x − c)²] − (mean − c)²
    let center = f64::from(mean as f32);
    let variance = (total(center).1 / n - (mean - center) * (mean - center)).max(0.0);
    (mean as f32, (1.0 / (variance + f64::from(eps)).sqrt()) as f32)
}

fn piece_moments(values: &[f32], center: f32) -> (f64, f64) {
    let (first, second) = piece_sums(values, center);
    (f64::from(first), f64::from(second))
}

multiversion! {
    fn piece_sums(values: &[f32], center: f32) -> (f32, f32) {
        (sum(values), sum_of(values, |x| (x - center) * (x - center)))
    }
}

fn affine<T: Element>(input: &[T], a: f32, b: f32, silu: bool, output: &mut [T]) {
    let mut values = vec![0f32; input.len()];
    T::load(input, &mut values);
    affine_chunk(&mut values, a, b);
    if silu {
        activate_chunk(Activation::Silu, &mut values);
    }
    T::store(&values, output);
}

multiversion! {
    fn affine_chunk(values: &mut [f32], a: f32, b: f32) {
        for x in values.iter_mut() {
            *x = *x * a + b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1009) as f32 - 400.0) / 100.0).collect()
    }

    fn plain_norm(x: &[f32], eps: f64) -> Vec<f64> {
        let n = x.len() as f64;
        let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        x.iter().map(|v| (f64::from(*v) - mean) / (variance + eps).sqrt()).collect()
    }

    #[test]
    fn layer_norm_with_one_gain_per_batch_entry() {
        let (batch, tokens, row) = (2, 3, 21);
        let (x, gain, offset) = (ramp(batch * tokens * row), ramp(batch * row), ramp(batch * row));
        let mut y = vec![0f32; x.len()];
        layer_norm(&x, row, 1e-6, &gain, &offset, &mut y);
        for r in 0..batch * tokens {
            let plain = plain_norm(&x[r * row..][..row], 1e-6);
            for c in 0..row {
                let at = r / tokens * row + c;
                let expected = plain[c] * f64::from(gain[at]) + f64::from(offset[at]);
                assert!((f64::from(y[r * row + c]) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn rms_norm_agrees_with_the_formula() {
        let (x, gain) = (ramp(6 * 33), ramp(33));
        let mut y = vec![0f32; x.len()];
        rms_norm(&x, 1e-6, &gain, &mut y);
        for (x, y) in x.chunks(33).zip(y.chunks(33)) {
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 33.0;
            for c in 0..33 {
                let expected = f64::from(x[c]) / (mean + 1e-6).sqrt() * f64::from(gain[c]);
                assert!((f64::from(y[c]) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn group_norm_with_and_without_silu() {
        let (batch, channels, area, groups) = (2, 6, 50, 3);
        let x = ramp(batch * channels * area);
        let (gain, offset) = (ramp(channels), ramp(channels));
        for silu in [false, true] {
            let shape = GroupNorm { channels, area, groups, eps: 1e-6, gain: &gain, offset: &offset, silu };
            let mut y = vec![0f32; x.len()];
            group_norm(&shape, &x, &mut y);
            let group = channels / groups * area;
            for (g, x) in x.chunks(group).enumerate() {
                for (i, v) in plain_norm(x, 1e-6).into_iter().enumerate() {
                    let c = g % groups * (channels / groups) + i / area;
                    let z = v * f64::from(gain[c]) + f64::from(offset[c]);
                    let expected = if silu { z / (1.0 + (-z).exp()) } else { z };
                    assert!((f64::from(y[g * group + i]) - expected).abs() < 2e-5);
                }
            }
        }
    }

    #[test]
    fn the_statistics_of_a_large_flat_group_do_not_drift() {
        let n = if cfg!(miri) { 5_000 } else { 3_000_000 };
        let x: Vec<f32> = (0..n).map(|i| 100.0 + (i % 2) as f32).collect();
        let (mean, inverse) = moments(&x, 0.0);
        assert!((mean - 100.5).abs() < 1e-4 && (inverse - 2.0).abs() < 1e-4, "{mean} {inverse}");
    }
}
