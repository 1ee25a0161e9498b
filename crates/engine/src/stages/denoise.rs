//! The walk down the schedule, whatever the transformer.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::families::{Context, Probe};
use crate::observer::Step;
use crate::pixels::Pixels;
use crate::samplers::{Sampler, Schedule};
use crate::trace::Trace;

/// Writes down where the walk starts.
pub(crate) fn begin(context: &Context<'_>, noise: &Tensor, schedule: &Schedule) -> Result<()> {
    let Some(trace) = context.trace else { return Ok(()) };
    trace.put("noise.first_draw", noise)?;
    trace.put("schedule.sigmas", &Tensor::new(&schedule.sigmas[..], &Device::Cpu)?)?;
    trace.put("schedule.timesteps", &Tensor::new(&schedule.timesteps[..], &Device::Cpu)?)
}

/// From noise to clean latents. `predict` gives the velocity at a step and its timestep; after each step the latents are
/// checked, the observer is asked, and `preview` draws where the step leads if it wants to see that.
pub(crate) fn walk(
    mut latents: Tensor,
    mut sampler: impl Sampler,
    context: &Context<'_>,
    preview: &dyn Fn(&Tensor) -> Result<Pixels>,
    predict: &dyn Fn(usize, f32, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let levels = sampler.schedule().timesteps.len();
    let first = sampler.place();
    let total = levels - first;
    while let Some((place, timestep)) = sampler.now() {
        let index = place - first;
        let velocity = predict(index, timestep, &latents)?;
        let destination = sampler.destination(&latents, &velocity)?;
        latents = sampler.step(&latents, &velocity)?;
        finite(&latents, || format!("in the latents after step {} of {total}", index + 1))?;
        if let Some(trace) = context.trace {
            trace.put(&format!("step{index}.latents"), &latents)?;
            sampler.drawn().map_or(Ok(()), |noise| trace.put(&format!("noise.step{index}"), noise))?;
        }
        let preview = || preview(&destination);
        context.observer.step(&Step::new(index + 1, total, &preview)).check()?;
    }
    Ok(latents)
}

/// What a transformer says at a step, by `forward`. At the first one it is written down, with what it is `given` and, where
/// they are wanted, its blocks.
pub(crate) fn predicted(
    context: &Context<'_>,
    index: usize,
    given: impl FnOnce(&Trace) -> Result<()>,
    forward: impl FnOnce(Option<Probe<'_>>) -> Result<Tensor>,
) -> Result<Tensor> {
    let Some(trace) = context.first(index) else { return forward(None) };
    given(trace)?;
    let probe = blocks(context, index);
    let out = forward(probe.as_ref().map(|probe| probe as Probe<'_>))?;
    trace.put("step0.transformer.out", &out)?;
    Ok(out)
}

/// What writes down a transformer's blocks, where they are wanted of this step.
pub(crate) fn blocks<'a>(
    context: &Context<'a>,
    index: usize,
) -> Option<impl Fn(&str, &Tensor) -> Result<()> + use<'a>> {
    let trace = context.first(index).filter(|trace| trace.wants_blocks())?;
    Some(move |name: &str, tokens: &Tensor| trace.put(&format!("step0.{name}"), tokens))
}

/// Writes down what a transformer is given at the first step.
pub(crate) fn trace_input(trace: &Trace, parts: &[(&str, &Tensor)]) -> Result<()> {
    parts.iter().try_for_each(|(name, tensor)| trace.put(&format!("step0.transformer.in.{name}"), tensor))
}

/// One number tells: no sum of finite numbers leaves float64, and none with NaN or infinity in it is finite.
pub(super) fn finite(x: &Tensor, place: impl FnOnce() -> String) -> Result<()> {
    const PIECE: usize = 1 << 20;
    // not every device sums float64
    let numbers = x.to_device(&Device::Cpu)?.flatten_all()?;
    let mut sum = 0.0;
    for start in (0..numbers.elem_count()).step_by(PIECE) {
        let piece = numbers.narrow(0, start, PIECE.min(numbers.elem_count() - start))?;
        sum += piece.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    }
    if sum.is_finite() { Ok(()) } else { Err(Error::NotFinite { place: place(), dtype: x.dtype() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_number_among_many_is_found() -> Result<()> {
        let check = |values: &[f32]| finite(&Tensor::new(values, &Device::Cpu)?, || "here".into());
        check(&[f32::MAX; 100])?;
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; 100];
            values[57] = bad;
            assert!(matches!(check(&values), Err(Error::NotFinite { dtype: DType::F32, .. })), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn what_is_said_names_the_remedy() -> Result<()> {
        let bad = Tensor::new(&[f32::INFINITY], &Device::Cpu)?;
        let said = |dtype| -> Result<String> {
            let place = || "in the latents after step 1 of 4".to_owned();
            Ok(finite(&bad.to_dtype(dtype)?, place).err().map_or_else(String::new, |e| e.to_string()))
        };
        let half = said(DType::F16)?;
        assert!(half.contains("step 1 of 4") && half.contains("bfloat16 or float32"), "{half}");
        assert!(said(DType::F32)?.contains("weights are damaged"));
        Ok(())
    }
}
