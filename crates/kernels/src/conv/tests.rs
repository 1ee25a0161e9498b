use super::*;
use crate::product::tests::draw;

const KINDS: [ConvKind; 5] = [
    ConvKind::Same { kernel: 1 },
    ConvKind::Same { kernel: 3 },
    ConvKind::Same { kernel: 5 },
    ConvKind::Halve,
    ConvKind::Double,
];

/// One output by the definition, in float64, and the sum of what was added without signs.
fn plain(
    conv: &Conv,
    weight: &[f32],
    x: &[f32],
    (height, width): (usize, usize),
    (y, column): (usize, usize),
) -> (f64, f64) {
    let kernel = conv.kind.kernel();
    let (mut sum, mut size) = (0.0, 0.0);
    for (i, weight) in weight.chunks(kernel * kernel).enumerate() {
        for (tap, weight) in weight.iter().enumerate() {
            let (stride, zeros) = if conv.kind == ConvKind::Halve { (2, 0) } else { (1, kernel / 2) };
            let (row, column) = (y * stride + tap / kernel, column * stride + tap % kernel);
            let large = if conv.kind == ConvKind::Double { 2 } else { 1 };
            if (zeros..height * large + zeros).contains(&row) && (zeros..width * large + zeros).contains(&column) {
                let (row, column) = ((row - zeros) / large, (column - zeros) / large);
                let product = f64::from(*weight) * f64::from(x[(row * width + column) * conv.input + i]);
                (sum, size) = (sum + product, size + product.abs());
            }
        }
    }
    (sum, size)
}

/// Greatest distance from the definition, as a share of what was added.
fn check(kind: ConvKind, batch: usize, (input, output): (usize, usize), (height, width): (usize, usize)) -> f64 {
    let taps = kind.kernel() * kind.kernel();
    let (weight, bias) = (draw(output * input * taps, 1), draw(output, 2));
    let (rows, columns) = (kind.side(height), kind.side(width));
    let (x, onto) = (draw(batch * input * height * width, 3), draw(batch * output * rows * columns, 4));
    let conv = Conv::new(kind, &weight, &bias);
    let (mut y, mut added) = (vec![f32::NAN; onto.len()], vec![f32::NAN; onto.len()]);
    conv.run(&x, (height, width), None, &mut y);
    conv.run(&x, (height, width), Some(&onto), &mut added);
    let mut worst = 0f64;
    for (at, got) in y.iter().enumerate() {
        let (o, pixel) = (at % output, at / output % (rows * columns));
        let x = &x[at / (output * rows * columns) * input * height * width..][..input * height * width];
        let weight = &weight[o * input * taps..][..input * taps];
        let (sum, size) = plain(&conv, weight, x, (height, width), (pixel / columns, pixel % columns));
        worst = worst.max((f64::from(*got) - sum - f64::from(bias[o])).abs() / (1.0 + size));
        assert!((added[at] - got - onto[at]).abs() < 1e-5, "added to at {at}");
    }
    assert!(worst < 3e-6, "{kind:?} {input}->{output} {height}x{width}: off by {worst:e}");
    worst
}

#[test]
fn small_pictures_agree_with_the_definition() {
    for kind in KINDS {
        for size in [(1, 1), (1, 7), (6, 1), (2, 2), (5, 4), (3, 17), (9, 8)] {
            check(kind, 1, (3, 5), size);
        }
        check(kind, 2, (1, 1), (4, 6));
        check(kind, 2, (16, 16), (5, 3));
    }
}

#[test]
#[cfg_attr(miri, ignore = "slow there, and nothing new")]
fn larger_pictures_agree_with_the_definition() {
    for kind in KINDS {
        check(kind, 2, (33, 6), (20, 37));
        check(kind, 1, (32, 48), (21, 30));
        check(kind, 1, (288, 16), (9, 10));
        check(kind, 1, (40, 8), (2, 131));
        check(kind, 1, (4, 4), (33, 1));
    }
}

/// How far Winograd's way is from the definition, beside bfloat16, whose numbers are off by 2⁻⁹ each.
#[test]
#[cfg_attr(miri, ignore = "slow there, and nothing new")]
fn minimal_filtering_stays_far_under_the_rounding_of_bfloat16() {
    let worst = check(ConvKind::Same { kernel: 3 }, 1, (256, 32), (16, 16));
    assert!(worst < 2e-6, "{worst:e}");
}
