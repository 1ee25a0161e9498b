use super::*;
use crate::product::tests::draw;

/// One answer by the definition, in float64.
fn plain(
    shape: &Attention,
    q: &[f32],
    key: impl Fn(usize) -> Vec<f32>,
    value: impl Fn(usize) -> Vec<f32>,
    bias: impl Fn(usize) -> f32,
) -> Vec<f64> {
    let dot = |k: &[f32]| q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>();
    let scores: Vec<f64> =
        (0..shape.keys).map(|i| dot(&key(i)) * f64::from(shape.scale) + f64::from(bias(i))).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..shape.width).map(|c| (0..shape.keys).map(|i| weights[i] / total * f64::from(value(i)[c])).sum()).collect()
}

fn check(shape: Attention, side_by_side: bool, bias: Option<[usize; 4]>) {
    let Attention { batch, heads, shared, queries, keys, width, .. } = shape;
    let strides = |heads: usize, tokens: usize| {
        if side_by_side {
            [tokens * heads * width, width, heads * width]
        } else {
            [heads * tokens * width, tokens * width, width]
        }
    };
    let (qs, ks, vs) = (
        draw(batch * heads * queries * width, 1),
        draw(batch * shared * keys * width, 2),
        draw(batch * shared * keys * width, 3),
    );
    let q = Heads { values: &qs, strides: strides(heads, queries) };
    let (k, v) =
        (Heads { values: &ks, strides: strides(shared, keys) }, Heads { values: &vs, strides: strides(shared, keys) });
    let numbers = draw(batch * heads * queries * keys, 4);
    let bias = bias.map(|strides| Bias { values: &numbers, strides });
    let (mut y, mut wide) = (vec![f32::NAN; qs.len()], vec![f32::NAN; qs.len()]);
    shape.run(q, k, v, bias, &mut y);
    shape.run_by(Tile::wide(), q, k, v, bias, &mut wide);
    assert!(y.iter().zip(&wide).all(|(y, wide)| (y - wide).abs() < 2e-6), "{shape:?} in wide tiles");
    // what is multiplied has eight bits: 1/256 of values up to 1, and of scores as large as their sums are
    let (mut halves, mut portable) = (vec![f32::NAN; qs.len()], vec![f32::NAN; qs.len()]);
    shape.run_in_halves(q, k, v, bias, &mut halves);
    shape.run_by(Tile::portable_halves(), q, k, v, bias, &mut portable);
    for (far, other) in [(0.02, &y), (0.005, &portable)] {
        let worst = halves.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < far, "{shape:?} in halves: {worst}");
    }
    for b in 0..batch {
        for h in 0..heads {
            let source = h / (heads / shared);
            for t in 0..queries {
                let bias = |i: usize| {
                    bias.map_or(0.0, |b_| {
                        let [sb, sh, sq, sk] = b_.strides;
                        b_.values[b * sb + h * sh + t * sq + i * sk]
                    })
                };
                let expected = plain(
                    &shape,
                    q.row(b, h, t, width),
                    |i| k.row(b, source, i, width).to_vec(),
                    |i| v.row(b, source, i, width).to_vec(),
                    bias,
                );
                for (c, expected) in expected.iter().enumerate() {
                    let got = f64::from(y[((b * queries + t) * heads + h) * width + c]);
                    assert!((got - expected).abs() < 2e-6, "{shape:?} at {b} {h} {t} {c}: {got} {expected}");
                }
            }
        }
    }
}

#[test]
fn attention_of_any_size_agrees_with_the_formula() {
    let shape = Attention { batch: 1, heads: 1, shared: 1, queries: 1, keys: 1, width: 1, scale: 0.3 };
    check(shape, true, None);
    check(Attention { queries: 5, keys: 7, width: 10, ..shape }, false, None);
    if cfg!(miri) {
        return;
    }
    check(Attention { batch: 2, heads: 4, shared: 2, queries: 70, keys: 33, width: 20, ..shape }, true, None);
    check(Attention { heads: 2, shared: 2, queries: 19, keys: 500, width: 64, ..shape }, false, None);
    check(Attention { heads: 1, queries: 3, keys: 260, width: 300, ..shape }, true, None);
    let (queries, keys) = (18, 250);
    let biased = Attention { batch: 2, heads: 2, shared: 1, queries, keys, width: 8, ..shape };
    check(biased, true, Some([2 * queries * keys, queries * keys, keys, 1]));
    check(biased, true, Some([keys, 0, 0, 1]));
    check(biased, false, Some([0, queries * keys, keys, 1]));
}

#[test]
fn masked_keys_get_nothing() {
    let shape = Attention { batch: 1, heads: 1, shared: 1, queries: 2, keys: 600, width: 2, scale: 1.0 };
    let (q, k) = (draw(4, 1), draw(1200, 2));
    let v: Vec<f32> = (0..1200).map(|i| if i < 1000 { 3e38 } else { 1.0 }).collect();
    let mask: Vec<f32> = (0..600).map(|i| if i < 500 { f32::NEG_INFINITY } else { 0.0 }).collect();
    let heads = |values| Heads { values, strides: [1200, 1200, 2] };
    let mut y = [0f32; 4];
    let run = |mask: &[f32], y: &mut [f32]| {
        shape.run(
            Heads { values: &q, strides: [4, 4, 2] },
            heads(&k),
            heads(&v),
            Some(Bias { values: mask, strides: [0, 0, 0, 1] }),
            y,
        );
    };
    run(&mask, &mut y);
    assert!(y.iter().all(|y| (y - 1.0).abs() < 1e-6), "{y:?}");
    run(&[f32::NEG_INFINITY; 600], &mut y);
    assert!(y.iter().all(|y| y.is_nan()), "{y:?}");
    let bias = Bias { values: &mask, strides: [0, 0, 0, 1] };
    shape.run_in_halves(Heads { values: &q, strides: [4, 4, 2] }, heads(&k), heads(&v), Some(bias), &mut y);
    assert!(y.iter().all(|y| (y - 1.0).abs() < 1e-2), "{y:?}");
}
