//! Element-wise activations.

use rayon::prelude::*;

use crate::GRAIN;
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
pub fn activate(kind: Activation, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len());
    output.par_chunks_mut(GRAIN).zip(input.par_chunks(GRAIN)).for_each(|(o, i)| {
        o.copy_from_slice(i);
        activate_chunk(kind, o);
    });
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
}
