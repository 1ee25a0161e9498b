//! UniPC (Zhao et al., 2023) for flow matching, of order 2 with the B₂ kernel, as diffusers' `UniPCMultistepScheduler`
//! takes its steps: each corrects where the last one led, then predicts where the next one leads.

use candle_core::{DType, Tensor};

use super::leap::{Leap, predicted};
use super::spacing::linspace;
use super::{Sampler, Schedule};
use crate::error::Result;
use crate::weights::Config;

/// Names of the scheduler: diffusers' and that of HiDream-I1's authors.
const CLASSES: [&str; 2] = ["UniPCMultistepScheduler", "FlowUniPCMultistepScheduler"];

/// Noise levels nearer to 1 than this are moved away: their logarithms are infinite.
const NEAR_ONE: f64 = 1e-6;

/// How a checkpoint wants its noise levels spaced.
#[derive(Clone, Debug)]
pub struct UniPcSpacing {
    train_timesteps: f64,
    shift: f64,
}

impl UniPcSpacing {
    /// Whether a scheduler's class is this one.
    pub fn is_named(class: &str) -> bool {
        CLASSES.contains(&class)
    }

    /// From `scheduler/scheduler_config.json`; absent keys mean HiDream-I1 Full.
    ///
    /// # Errors
    /// Options that would change the numbers.
    pub fn read(config: &Config) -> Result<Self> {
        for (key, wanted) in [
            ("prediction_type", "flow_prediction"),
            ("solver_type", "bh2"),
            ("final_sigmas_type", "zero"),
            ("timestep_spacing", "linspace"),
        ] {
            let value = config.text_or(key, wanted);
            if value != wanted {
                return Err(config.unsupported(key, value, wanted));
            }
        }
        for (key, wanted) in [
            ("use_flow_sigmas", true),
            ("predict_x0", true),
            ("lower_order_final", true),
            ("thresholding", false),
            ("use_karras_sigmas", false),
            ("use_exponential_sigmas", false),
            ("use_beta_sigmas", false),
            ("use_dynamic_shifting", false),
        ] {
            if config.flag_or(key, wanted)? != wanted {
                return Err(config.unsupported(key, !wanted, &wanted.to_string()));
            }
        }
        let order = config.size_or("solver_order", 2)?;
        if order != 2 {
            return Err(config.unsupported("solver_order", order, "2"));
        }
        let disabled = config.sizes_or("disable_corrector", &[])?;
        if !disabled.is_empty() {
            return Err(config.unsupported("disable_corrector", format!("{disabled:?}"), "none"));
        }
        let train_timesteps = config.number_or("num_train_timesteps", 1000.0)?;
        let shift = config.number_or("flow_shift", config.number_or("shift", 3.0)?)?;
        for (key, value) in [("num_train_timesteps", train_timesteps), ("flow_shift", shift)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(config.unsupported(key, value, "a number above 0"));
            }
        }
        Ok(Self { train_timesteps, shift })
    }

    /// The levels of so many steps, computed in float64; timesteps are whole.
    pub fn levels(&self, steps: usize) -> Schedule {
        let Self { train_timesteps, shift } = *self;
        let even = linspace(1.0, 1.0 / train_timesteps, steps + 1).into_iter().take(steps);
        let mut levels: Vec<f64> = even.map(|sigma| shift * sigma / (1.0 + (shift - 1.0) * sigma)).collect();
        if let Some(first) = levels.first_mut().filter(|first| (**first - 1.0).abs() < NEAR_ONE) {
            *first -= NEAR_ONE;
        }
        let timesteps = levels.iter().map(|sigma| (sigma * train_timesteps).trunc() as f32).collect();
        let sigmas = levels.into_iter().chain([0.0]).map(|sigma| sigma as f32).collect();
        Schedule { sigmas, timesteps }
    }
}

/// A walk down a schedule. Everything is computed in float32; latents are rounded to their type after each step.
#[derive(Clone, Debug)]
pub struct UniPc {
    schedule: Schedule,
    next: usize,
    past: Option<Past>,
}

/// What the last step knew.
#[derive(Clone, Debug)]
struct Past {
    /// Where it started, corrected.
    sample: Tensor,
    /// What it took for clean.
    clean: Tensor,
    /// What the step before it took for clean.
    before: Option<Tensor>,
    /// The order of its prediction.
    order: usize,
}

impl UniPc {
    /// At the noisy end.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, next: 0, past: None }
    }

    /// The sample of this step, anew: from the one before, knowing what this step takes for clean.
    fn corrected(&self, past: &Past, clean: &Tensor) -> Result<Tensor> {
        let levels = &self.schedule.sigmas;
        let leap = Leap::of(levels, self.next - 1);
        let news = (clean - &past.clean)?;
        let change = match &past.before {
            Some(before) if past.order == 2 => {
                let r = leap.past(levels, self.next - 1);
                let [rho_1, rho_2] = leap.weights(r);
                let bend = ((before - &past.clean)? / f64::from(r))?;
                ((bend * f64::from(rho_1))? + (news * f64::from(rho_2))?)?
            }
            _ => (news * 0.5)?,
        };
        leap.to(&past.sample, &past.clean, Some(&change))
    }
}

impl Leap {
    /// What the corrector of order 2 makes of the bend and of the news.
    fn weights(&self, r: f32) -> [f32; 2] {
        let hh = -self.h;
        let k_1 = self.phi / hh - 1.0;
        let k_2 = k_1 / hh - 0.5;
        let (b_1, b_2) = (k_1 / self.phi, 2.0 * k_2 / self.phi);
        let rho_1 = (b_2 - b_1) / (r - 1.0);
        [rho_1, b_1 - rho_1]
    }
}

impl Sampler for UniPc {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn place(&self) -> usize {
        self.next
    }

    fn step(&mut self, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let clean = self.destination(latents, velocity)?.to_dtype(DType::F32)?;
        let past = self.past.take();
        let sample = match &past {
            Some(past) => self.corrected(past, &clean)?,
            None => latents.to_dtype(DType::F32)?,
        };
        let left = self.schedule.timesteps.len() - self.next;
        let order = left.min(self.next + 1).min(2);
        let before = past.map(|past| past.clean);
        let there =
            predicted(&self.schedule.sigmas, self.next, &sample, &clean, before.as_ref().filter(|_| order == 2))?;
        self.past = Some(Past { sample, clean, before, order });
        self.next += 1;
        Ok(there.to_dtype(latents.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spacing() -> UniPcSpacing {
        UniPcSpacing { train_timesteps: 1000.0, shift: 3.0 }
    }

    #[test]
    fn levels_are_shifted_and_times_are_whole() {
        let schedule = spacing().levels(50);
        assert_eq!(schedule.timesteps[..6], [999.0, 993.0, 986.0, 979.0, 971.0, 964.0]);
        assert_eq!(schedule.timesteps[46..], [208.0, 162.0, 113.0, 60.0]);
        assert_eq!((schedule.sigmas.len(), schedule.sigmas[50]), (51, 0.0));
        assert!(schedule.sigmas[0] < 1.0, "its logarithm is finite");
    }

    /// Where the clean latents never change, every order leads straight to them.
    #[test]
    fn a_constant_estimate_is_reached() -> Result<()> {
        for steps in [1, 2, 3, 7] {
            let mut walk = UniPc::new(spacing().levels(steps));
            let clean = Tensor::new(&[0.5f32, -2.0], &candle_core::Device::Cpu)?;
            let mut x = Tensor::new(&[3f32, 1.0], &candle_core::Device::Cpu)?;
            while let Some((place, _)) = walk.now() {
                let sigma = f64::from(walk.schedule.sigmas[place]);
                let velocity = ((&x - &clean)? / sigma)?;
                x = walk.step(&x, &velocity)?;
            }
            let off = (x - clean)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < 1e-6, "{off} after {steps} steps");
        }
        Ok(())
    }
}
