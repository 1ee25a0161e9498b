//! Steps of the exponential integrators of flow matching (Lu et al., 2022): exact where what is taken for clean stays, and
//! bent where it moved since the step before. What DPM-Solver++ and UniPC share.

use candle_core::Tensor;

use crate::error::Result;

/// From one noise level to the next.
pub(super) struct Leap {
    ratio: f32,
    alpha: f32,
    /// How far it is in logarithms of signal over noise; infinite from a level of 1 and to one of 0.
    pub(super) h: f32,
    pub(super) phi: f32,
}

impl Leap {
    /// From the level at this place to the one behind it. Float32, as the reference computes it.
    pub(super) fn of(levels: &[f32], place: usize) -> Self {
        let (s, t) = (levels[place], levels[place + 1]);
        let h = lambda(t) - lambda(s);
        Self { ratio: t / s, alpha: 1.0 - t, h, phi: (-h).exp_m1() }
    }

    /// How far the level before this one was, as a share of this leap; negative, and infinite where that level was 1.
    pub(super) fn past(&self, levels: &[f32], place: usize) -> f32 {
        (lambda(levels[place - 1]) - lambda(levels[place])) / self.h
    }

    /// `ratio` x − α φ (clean + change).
    pub(super) fn to(&self, x: &Tensor, clean: &Tensor, change: Option<&Tensor>) -> Result<Tensor> {
        let by = f64::from(self.alpha * self.phi);
        let base = ((x * f64::from(self.ratio))? - (clean * by)?)?;
        Ok(match change {
            Some(change) => (base - (change * by)?)?,
            None => base,
        })
    }
}

/// The sample behind the step at this place; of order 2 where `before` says what the step before it took for clean.
pub(super) fn predicted(
    levels: &[f32],
    place: usize,
    sample: &Tensor,
    clean: &Tensor,
    before: Option<&Tensor>,
) -> Result<Tensor> {
    let leap = Leap::of(levels, place);
    let Some(before) = before else { return leap.to(sample, clean, None) };
    let change = ((before - clean)? * f64::from(0.5 / leap.past(levels, place)))?;
    leap.to(sample, clean, Some(&change))
}

/// ln of signal over noise.
fn lambda(sigma: f32) -> f32 {
    (1.0 - sigma).ln() - sigma.ln()
}
