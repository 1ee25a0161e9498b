//! Guidance by two passes: away from what the negative prompt would draw.

use candle_core::Tensor;

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
}
