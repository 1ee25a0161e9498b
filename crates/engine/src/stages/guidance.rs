//! Guidance by two passes: away from what the negative prompt would draw.

use candle_core::{D, DType, Tensor};

use crate::error::Result;

/// negative + scale · (prompt − negative).
pub(crate) fn guided(prompt: &Tensor, negative: &Tensor, scale: f64) -> Result<Tensor> {
    Ok((negative + ((prompt - negative)? * scale)?)?)
}

/// The same, for one batch that holds the negative half first.
pub(crate) fn guided_halves(both: &Tensor, scale: f64) -> Result<Tensor> {
    let half = both.dim(0)? / 2;
    guided(&both.narrow(0, half, half)?, &both.narrow(0, 0, half)?, scale)
}

/// Adaptive projected guidance (Sadat et al., 2024) for one batch that holds the negative half first: what points along
/// the prompt's own answer is left out of the way from the negative one, and the rest is scaled down until its standard
/// deviation is at most `threshold`. Each picture by itself.
pub(crate) fn projected_halves(both: &Tensor, scale: f64, threshold: f64) -> Result<Tensor> {
    let half = both.dim(0)? / 2;
    // sums over a whole picture
    let wide = both.to_dtype(DType::F32)?;
    let (negative, prompt) = (wide.narrow(0, 0, half)?, wide.narrow(0, half, half)?);
    let rows = |t: &Tensor| t.flatten_from(1);
    let (answer, away) = (rows(&prompt)?, rows(&(&prompt - &negative)?)?);
    // an answer of zeros has no direction: nothing lies along it
    let length = answer.sqr()?.sum_keepdim(D::Minus1)?.maximum(f64::from(f32::MIN_POSITIVE))?;
    let along = (&answer * &away)?.sum_keepdim(D::Minus1)?.div(&length)?;
    let rest = (away - answer.broadcast_mul(&along)?)?;
    let deviation = rest.var_keepdim(D::Minus1)?.sqrt()?.maximum(f64::from(f32::MIN_POSITIVE))?;
    let share = (deviation.recip()? * threshold)?.minimum(1.0)?;
    let guided = (answer + (rest.broadcast_mul(&share)? * (scale - 1.0))?)?;
    Ok(guided.reshape(prompt.shape())?.to_dtype(both.dtype())?)
}

/// A batch twice: one half for the negative prompt, one for the prompt.
pub(crate) fn doubled(x: &Tensor) -> Result<Tensor> {
    Ok(Tensor::cat(&[x, x], 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_of_one_is_the_prompt_alone_and_the_negative_half_comes_first() -> Result<()> {
        let both = Tensor::new(&[[1f32], [3.0]], &candle_core::Device::Cpu)?;
        assert_eq!(guided_halves(&both, 1.0)?.to_vec2::<f32>()?, [[3.0]]);
        assert_eq!(guided_halves(&both, 2.5)?.to_vec2::<f32>()?, [[6.0]]);
        assert_eq!(doubled(&both)?.dims(), [4, 1]);
        Ok(())
    }

    #[test]
    fn projected_guidance_keeps_what_is_across_and_limits_it() -> Result<()> {
        let device = &candle_core::Device::Cpu;
        // from (−2, 1) to the answer (2, 0) it is (4, −1), of which (4, 0) points along the answer
        let first = [[[[-2f32, 1.0]]], [[[2.0, 0.0]]]];
        let of = |threshold| -> Result<Vec<f32>> {
            let guided = projected_halves(&Tensor::new(&first, device)?, 3.0, threshold)?;
            Ok(guided.flatten_all()?.to_vec1()?)
        };
        assert_eq!(of(9.0)?, [2.0, -2.0]);
        // the standard deviation of (0, −1) is √½
        let limited = of(0.5f64.sqrt() / 4.0)?;
        assert!((limited[0] - 2.0).abs() < 1e-6 && (limited[1] + 0.5).abs() < 1e-6, "{limited:?}");
        // a second picture in the batch changes nothing for the first; nor do zeros come to anything but numbers
        let pair = [[[[-2f32, 1.0]]], [[[5.0, 5.0]]], [[[2.0, 0.0]]], [[[0.0, 0.0]]]];
        let pair = projected_halves(&Tensor::new(&pair, device)?, 3.0, 9.0)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(pair[..2], [2.0, -2.0]);
        assert!(pair.iter().all(|number| number.is_finite()), "{pair:?}");
        let same = [[[[1f32, 2.0]]], [[[1.0, 2.0]]]];
        let same = projected_halves(&Tensor::new(&same, device)?, 3.0, 0.03)?;
        assert_eq!(same.flatten_all()?.to_vec1::<f32>()?, [1.0, 2.0]);
        Ok(())
    }
}
