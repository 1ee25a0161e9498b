//! Normalisations, with what usually follows them folded in.

use rayon::prelude::*;

use crate::activation::{Activation, activate_chunk};
use crate::math::{sum, sum_of};
use crate::multiversion::multiversion;
use crate::rows_per_task;
use crate::scratch::lend;

/// Layer norm of each row: (x − mean) / √(var + eps) · `gain` + `offset`.
///
/// `gain` and `offset` hold one row per `rows / gain_rows` rows of the input: one row for a norm with weights, one per
/// batch entry for a modulated norm, none (empty) for neither.
///
/// # Panics
/// Where the lengths do not fit.
pub fn layer_norm(input: &[f32], row: usize, eps: f32, gain: &[f32], offset: &[f32], output: &mut [f32]) {
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
pub fn rms_norm(input: &[f32], eps: f32, gain: &[f32], output: &mut [f32]) {
    let row = gain.len();
    assert!(row > 0 && input.len().is_multiple_of(row) && input.len() == output.len());
    each_row(input, row, output, |_, values| rms(values, eps, gain));
}

/// Group norm of `[batch, area, channels]`, then optionally SiLU.
///
/// Sums are taken over pieces of fixed size about the first pixel and put together in float64, so neither the size of the
/// picture nor the number of threads changes them, and a large flat picture loses nothing.
///
/// # Panics
/// Where the lengths do not fit or `groups` does not divide the channels.
pub fn group_norm(shape: &GroupNorm<'_>, input: &[f32], output: &mut [f32]) {
    let GroupNorm { area, groups, gain, offset, silu, .. } = *shape;
    let channels = gain.len();
    assert!(groups > 0 && channels > 0 && channels.is_multiple_of(groups) && offset.len() == channels && area > 0);
    assert!(input.len().is_multiple_of(channels * area) && input.len() == output.len());
    lend(2 * channels, |factors| {
        for (x, y) in input.chunks_exact(channels * area).zip(output.chunks_exact_mut(channels * area)) {
            let (scales, floors) = factors.split_at_mut(channels);
            moments(shape, x, scales, floors);
            let (scales, floors) = (&*scales, &*floors);
            y.par_chunks_mut(PIECE * channels).zip(x.par_chunks(PIECE * channels)).for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    affine(x, scales, floors, y);
                    if silu {
                        activate_chunk(Activation::Silu, y);
                    }
                }
            });
        }
    });
}

/// Sizes and weights of a group norm.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
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

/// Pixels in a piece.
const PIECE: usize = 256;

/// What each channel is multiplied by, and what is added then.
fn moments(shape: &GroupNorm<'_>, x: &[f32], scales: &mut [f32], floors: &mut [f32]) {
    let channels = scales.len();
    let first = &x[..channels];
    lend(x.len().div_ceil(PIECE * channels) * 2 * channels, |pieces| {
        pieces.par_chunks_exact_mut(2 * channels).zip(x.par_chunks(PIECE * channels)).for_each(|(sums, x)| {
            sums.fill(0.0);
            let (sums, squares) = sums.split_at_mut(channels);
            x.chunks_exact(channels).for_each(|x| count(x, first, sums, squares));
        });
        let size = channels / shape.groups;
        for group in (0..channels).step_by(size) {
            let (mean, variance) = of_group(pieces, channels, group..group + size, first, shape.area as f64);
            let inverse = 1.0 / (variance + f64::from(shape.eps)).sqrt();
            for c in group..group + size {
                let scale = inverse * f64::from(shape.gain[c]);
                scales[c] = scale as f32;
                floors[c] = (f64::from(shape.offset[c]) - mean * scale) as f32;
            }
        }
    });
}

/// Mean and variance over some channels, from the sums of their distances from the first pixel and of the squares of these.
fn of_group(pieces: &[f32], channels: usize, group: std::ops::Range<usize>, first: &[f32], area: f64) -> (f64, f64) {
    let total = |at: usize| pieces.chunks_exact(2 * channels).map(|piece| f64::from(piece[at])).sum::<f64>();
    let n = area * group.len() as f64;
    let sums: Vec<(f64, f64, f64)> = group.map(|c| (f64::from(first[c]), total(c), total(channels + c))).collect();
    let mean = sums.iter().map(|(center, sum, _)| center * area + sum).sum::<f64>() / n;
    let about = |(center, sum, squares): &(f64, f64, f64)| {
        let away = center - mean;
        squares + 2.0 * away * sum + area * away * away
    };
    (mean, (sums.iter().map(about).sum::<f64>() / n).max(0.0))
}

multiversion! {
    /// Adds a pixel's distances from the first, and their squares.
    fn count(x: &[f32], first: &[f32], sums: &mut [f32], squares: &mut [f32]) {
        for i in 0..x.len().min(first.len()).min(sums.len()).min(squares.len()) {
            let away = x[i] - first[i];
            sums[i] += away;
            squares[i] += away * away;
        }
    }
}

multiversion! {
    fn affine(x: &[f32], scales: &[f32], floors: &[f32], y: &mut [f32]) {
        for i in 0..x.len().min(scales.len()).min(floors.len()).min(y.len()) {
            y[i] = x[i] * scales[i] + floors[i];
        }
    }
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

fn each_row(input: &[f32], row: usize, output: &mut [f32], apply: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_task(row);
    output.par_chunks_mut(row * rows).zip(input.par_chunks(row * rows)).enumerate().for_each(|(task, (o, i))| {
        o.copy_from_slice(i);
        for (k, values) in o.chunks_exact_mut(row).enumerate() {
            apply(task * rows + k, values);
        }
    });
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
        let (batch, channels, groups) = (2, 6, 3);
        for area in [50, 700] {
            let x = ramp(batch * channels * area);
            let (gain, offset) = (ramp(channels), ramp(channels));
            for silu in [false, true] {
                let shape = GroupNorm { area, groups, eps: 1e-6, gain: &gain, offset: &offset, silu };
                let mut y = vec![0f32; x.len()];
                group_norm(&shape, &x, &mut y);
                let each = channels / groups;
                for group in 0..batch * groups {
                    let at = |i: usize| {
                        group / groups * channels * area + i / each * channels + group % groups * each + i % each
                    };
                    let values: Vec<f32> = (0..each * area).map(|i| x[at(i)]).collect();
                    for (i, v) in plain_norm(&values, 1e-6).into_iter().enumerate() {
                        let c = group % groups * each + i % each;
                        let z = v * f64::from(gain[c]) + f64::from(offset[c]);
                        let expected = if silu { z / (1.0 + (-z).exp()) } else { z };
                        assert!((f64::from(y[at(i)]) - expected).abs() < 2e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn the_statistics_of_a_large_flat_group_do_not_drift() {
        let area = if cfg!(miri) { 1_000 } else { 1_000_000 };
        let x: Vec<f32> = (0..2 * area).map(|i| 100.0 + (i / 2 % 2) as f32).collect();
        let shape = GroupNorm { area, groups: 1, eps: 0.0, gain: &[1.0; 2], offset: &[0.0; 2], silu: false };
        let mut y = vec![0f32; x.len()];
        group_norm(&shape, &x, &mut y);
        assert!(y.iter().all(|y| (y.abs() - 1.0).abs() < 1e-4), "{:?}", &y[..4]);
    }
}
