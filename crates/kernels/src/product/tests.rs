use super::*;
use crate::activation::Activation;

/// Numbers without a pattern between −1 and 1.
pub(crate) fn draw(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Largest distance from the product in float64, as a share of the sum of the magnitudes that were added.
fn distance(x: &[f32], w: &[f32], columns: usize, got: impl Fn(usize, usize) -> f64) -> f64 {
    let mut worst = 0f64;
    for (i, x) in x.chunks_exact(columns).enumerate() {
        for (j, w) in w.chunks_exact(columns).enumerate() {
            let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let size: f64 = terms().map(f64::abs).sum();
            worst = worst.max((got(i, j) - terms().sum::<f64>()).abs() / size.max(1e-30));
        }
    }
    worst
}

#[test]
fn sums_of_any_size_are_within_the_rounding_of_float32() {
    let sizes: &[(usize, usize, usize)] = if cfg!(miri) {
        &[(2, 3, 5), (5, 18, 300)]
    } else {
        &[
            (1, 1, 1),
            (1, 70, 700),
            (3, 129, 33),
            (4, 16, 256),
            (5, 1, 257),
            (7, 17, 31),
            (13, 100, 520),
            (65, 67, 1),
            (800, 33, 300),
        ]
    };
    for (n, rows, columns) in sizes.iter().copied() {
        let (x, w) = (draw(n * columns, 1), draw(rows * columns, 2));
        let plain = Plain::new(&w, columns);
        let mut y = vec![f32::NAN; n * rows];
        product(&x, &plain, &Finish::default(), &mut y);
        let worst = distance(&x, &w, columns, |i, j| f64::from(y[i * rows + j]));
        assert!(worst < 3e-7, "{n}x{rows}x{columns}: off by {worst:e}");
        let mut other = vec![f32::NAN; n * rows];
        product_by::<f32>(Tile::wide(), &x, &plain, &Finish::default(), &mut other);
        let worst = distance(&x, &w, columns, |i, j| f64::from(other[i * rows + j]));
        assert!(worst < 3e-7, "{n}x{rows}x{columns} in wide tiles: off by {worst:e}");
    }
}

#[test]
fn what_follows_is_done_in_order() {
    let (n, rows, columns, batch) = (8, 37, 40, 2);
    let (x, w, bias) = (draw(n * columns, 1), draw(rows * columns, 2), draw(rows, 3));
    let (times, onto, gate) = (draw(n * rows, 4), draw(n * rows, 5), draw(batch * rows, 6));
    for n in [n, 2] {
        let (x, times, onto) = (&x[..n * columns], &times[..n * rows], &onto[..n * rows]);
        let residual = Some(Residual { onto, gate: Some(&gate) });
        let all = Finish { bias: Some(&bias), activation: Some(Activation::Silu), times: Some(times), residual };
        let (mut sums, mut y) = (vec![0f32; n * rows], vec![0f32; n * rows]);
        product(x, &Plain::new(&w, columns), &Finish::default(), &mut sums);
        product(x, &Plain::new(&w, columns), &all, &mut y);
        let mut after = sums.clone();
        finish(&mut after, rows, &all);
        assert_eq!(after, y, "afterwards or at once");
        for (i, (y, sum)) in y.iter().zip(&sums).enumerate() {
            let (row, j) = (i / rows, i % rows);
            let z = f64::from(sum + bias[j]);
            let z = z / (1.0 + (-z).exp()) * f64::from(times[i]);
            let expected = f64::from(onto[i]) + z * f64::from(gate[row / (n / batch) * rows + j]);
            assert!((f64::from(*y) - expected).abs() < 1e-5, "{i}: {y} {expected}");
        }
    }
}

#[test]
fn a_row_of_x_gives_the_same_bits_in_any_company() {
    let (rows, columns) = (50, 600);
    let (x, w) = (draw(40 * columns, 1), draw(rows * columns, 2));
    let of = |n: usize| {
        let mut y = vec![0f32; n * rows];
        product(&x[..n * columns], &Plain::new(&w, columns), &Finish::default(), &mut y);
        y
    };
    let (all, some) = (of(40), of(9));
    assert_eq!(all[..9 * rows], some[..]);
}

/// Numbers of bfloat16 are multiplied exactly, and summed with the rounding of float32; others are rounded first.
#[test]
fn halves_of_any_size_are_multiplied_in_pairs() {
    let half = |x: f32| f32::from_bits((x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) & 0xffff_0000);
    for (n, rows, columns) in [(5, 1, 1), (13, 35, 63), (7, 17, 512), (30, 70, 1025)] {
        let (x, w) = (draw(n * columns, 1), draw(rows * columns, 2));
        let exact = |numbers: &[f32]| numbers.iter().map(|x| half(*x)).collect::<Vec<f32>>();
        let (whole_x, whole_w) = (exact(&x), exact(&w));
        for tile in [Tile::of_halves(), Tile::portable_halves()] {
            let mut y = vec![f32::NAN; n * rows];
            product_by::<u32>(tile, &x, &Plain::new(&w, columns), &Finish::default(), &mut y);
            let worst = distance(&whole_x, &whole_w, columns, |i, j| f64::from(y[i * rows + j]));
            assert!(worst < 3e-7, "{n}x{rows}x{columns}: off by {worst:e}");
        }
    }
}
