//! Guidance in two passes or three: away from what would be drawn with the negative text, and away from what would be drawn
//! without the given pictures.

use candle_core::Tensor;

use crate::call::Call;
use crate::error::Result;
use crate::stages;

/// How far a call is led.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scales {
    /// Away from the negative text.
    pub(super) text: f64,
    /// Away from no pictures.
    pub(super) pictures: Option<f64>,
}

impl Scales {
    /// None where the text does not lead: pictures alone do not, in the reference neither.
    pub(super) fn of(call: &Call) -> Option<Self> {
        let leads = !call.pictures.is_empty() && call.picture_guidance > 1.0;
        let scales = Self { text: call.guidance, pictures: leads.then_some(call.picture_guidance) };
        call.is_guided().then_some(scales)
    }
}

/// Whether guidance is on at a step.
pub(super) fn is_led(index: usize, call: &Call) -> bool {
    let [from, to] = call.guided_steps;
    (from..=to).contains(&(index as f64 / call.steps as f64))
}

/// What three passes come to: the negative text without pictures, then with them, then the prompt with them.
pub(super) fn both(without: &Tensor, with: &Tensor, prompt: &Tensor, text: f64, pictures: f64) -> Result<Tensor> {
    let seen = stages::guided(with, without, pictures)?;
    Ok((seen + ((prompt - with)? * text)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn three_passes_are_summed_as_the_authors_do() -> Result<()> {
        let one = |x: f32| Tensor::new(&[x], &Device::Cpu);
        let sum = both(&one(1.0)?, &one(3.0)?, &one(7.0)?, 5.0, 2.0)?;
        assert_eq!(sum.to_vec1::<f32>()?, [1.0 + 2.0 * (3.0 - 1.0) + 5.0 * (7.0 - 3.0)]);
        Ok(())
    }
}
