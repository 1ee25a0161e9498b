//! Element-wise activations.

use rayon::prelude::*;

use crate::GRAIN;
use crate::element::Element;
use crate::math::{erfc, exp, sigmoid};
use crate::multiversion::multiversion;

/// Which function to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · σ(x)
    Silu,
    /// ½x (1 + tanh(√(2/π)(x + 0.044715x³))), the approximation FLUX and T5 were trained with.
    GeluTanh,
    /// ½x (1 + erf(x/√2)), by its definition: CLIP-G's own.
    Gelu,
    /// x · σ(1.702x), CLIP-L's own.
    QuickGelu,
}

/// Applies an activation to every element.
///
/// # Panics
/// Where the slices differ in length.
pub fn activate<T: Element>(kind: Activation, input: &[T], output: &mut [T]) {
    assert_eq!(input.len(), output.len());
    each_chunk(input, output, |values| activate_chunk(kind, values));
}

/// `output = gelu_tanh(gate) · value`, the gated feed-forward of T5 v1.1.
///
/// # Panics
/// Where the slices differ in length.
pub fn gate_gelu_tanh<T: Element>(gate: &[T], value: &[T], output: &mut [T]) {
    assert!(gate.len() == value.len() && gate.len() == output.len());
    output.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN).zip(value.par_chunks(GRAIN))).for_each(|(o, (g, v))| {
        let (mut a, mut b) = (vec![0f32; g.len()], vec![0f32; g.len()]);
        T::load(g, &mut a);
        T::load(v, &mut b);
        activate_chunk(Activation::GeluTanh, &mut a);
        for (a, b) in a.iter_mut().zip(&b) {
            *a *= b;
        }
        T::store(&a, o);
    });
}

fn each_chunk<T: Element>(input: &[T], output: &mut [T], apply: impl Fn(&mut [f32]) + Sync) {
    output.par_chunks_mut(GRAIN).zip(input.par_chunks(GRAIN)).for_each_init(
        || vec![0f32; GRAIN],
        |scratch, (o, i)| {
            let values = &mut scratch[..i.len()];
            T::load(i, values);
            apply(values);
            T::store(values, o);
        },
    );
}

multiversion! {
    /// Applies an activation in place.
    pub(crate) fn activate_chunk(kind: Activation, values: &mut [f32]) {
        match kind {
            Activation::Silu => values.iter_mut().for_each(|x| *x *= sigmoid(*x)),
            Activation::QuickGelu => values.iter_mut().for_each(|x| *x *= sigmoid(1.702 * *x)),
            Activation::Gelu => values.iter_mut().for_each(|x| {
                let tail = erfc(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
                *x *= 0.5 * if *x < 0.0 { tail } else { 2.0 - tail };
            }),
            Activation::GeluTanh => values.iter_mut().for_each(|x| {
                // ½(1 + tanh u) = σ(2u)
                let u = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2
                    * (*x + 0.044_715 * *x * *x * *x);
                *x /= 1.0 + exp(-2.0 * u);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    /// 2/√π e^(−x²) Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!: no term cancels another.
    fn erf(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }

    fn oracle(kind: Activation, x: f64) -> f64 {
        match kind {
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + u.tanh())
            }
        }
    }

    #[test]
    fn activations_agree_with_the_formulas() {
        let input: Vec<f32> = (0..if cfg!(miri) { 200 } else { 40_000 }).map(|i| (i - 20_000) as f32 / 900.0).collect();
        for kind in [Activation::Silu, Activation::GeluTanh, Activation::Gelu, Activation::QuickGelu] {
            let mut output = vec![0f32; input.len()];
            activate(kind, &input, &mut output);
            for (x, y) in input.iter().zip(&output) {
                let expected = oracle(kind, f64::from(*x));
                assert!((f64::from(*y) - expected).abs() <= 3e-7 * (1.0 + expected.abs()), "{kind:?}({x}) = {y}");
            }
        }
    }

    #[test]
    fn a_gate_multiplies_and_reduced_types_round_once() {
        let gate: Vec<bf16> = (0..100).map(|i| bf16::from_f32(i as f32 / 25.0 - 2.0)).collect();
        let value: Vec<bf16> = (0..100).map(|i| bf16::from_f32(3.0 - i as f32 / 20.0)).collect();
        let mut output = vec![bf16::ZERO; 100];
        gate_gelu_tanh(&gate, &value, &mut output);
        for i in 0..100 {
            let exact = oracle(Activation::GeluTanh, gate[i].to_f64()) * value[i].to_f64();
            assert!((output[i].to_f64() - exact).abs() <= exact.abs() / 250.0 + 1e-6);
        }
    }
}
