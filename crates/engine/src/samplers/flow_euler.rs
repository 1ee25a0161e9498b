//! Flow matching with Euler steps (Esser et al., 2024), as diffusers' `FlowMatchEulerDiscreteScheduler` counts them.

use candle_core::{DType, Tensor};

use crate::checkpoint::Config;
use crate::error::Result;

/// How a checkpoint wants its noise levels spaced.
#[derive(Clone, Debug)]
pub struct FlowEulerConfig {
    /// Noise levels in training; timesteps are sigma times this.
    pub train_timesteps: f64,
    /// The spacing.
    pub shift: Shift,
}

/// How noise levels are pushed towards the noisy end.
#[derive(Clone, Debug, PartialEq)]
pub enum Shift {
    /// s σ / (1 + (s − 1) σ).
    Static(f64),
    /// e^μ / (e^μ + 1/σ − 1) with μ linear in the number of image tokens, extrapolated beyond both ends.
    Dynamic {
        /// μ at `base_tokens`.
        base: f64,
        /// μ at `max_tokens`.
        max: f64,
        /// Where the line starts.
        base_tokens: f64,
        /// Where it is anchored a second time.
        max_tokens: f64,
    },
}

/// The noise levels of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// One level per step and a final 0.
    pub sigmas: Vec<f32>,
    /// 1000 σ for each step.
    pub timesteps: Vec<f32>,
}

/// The scheduler of a checkpoint.
#[derive(Clone, Debug)]
pub struct FlowEuler {
    config: FlowEulerConfig,
}

impl FlowEulerConfig {
    /// From `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// A scheduler of another class, or with options that would change the numbers.
    pub fn read(config: &Config) -> Result<Self> {
        let class = config.text_or("_class_name", "FlowMatchEulerDiscreteScheduler");
        if class != "FlowMatchEulerDiscreteScheduler" {
            return Err(config.unsupported("_class_name", class, "FlowMatchEulerDiscreteScheduler"));
        }
        for option in [
            "invert_sigmas",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_flow_sigmas",
            "stochastic_sampling",
        ] {
            if config.flag_or(option, false)? {
                return Err(config.unsupported(option, true, "false"));
            }
        }
        if let Some(terminal) = config.get("shift_terminal") {
            return Err(config.unsupported("shift_terminal", terminal, "none"));
        }
        let kind = config.text_or("time_shift_type", "exponential");
        if kind != "exponential" {
            return Err(config.unsupported("time_shift_type", kind, "exponential"));
        }
        let shift = if config.flag_or("use_dynamic_shifting", false)? {
            Shift::Dynamic {
                base: config.number_or("base_shift", 0.5)?,
                max: config.number_or("max_shift", 1.15)?,
                base_tokens: config.number_or("base_image_seq_len", 256.0)?,
                max_tokens: config.number_or("max_image_seq_len", 4096.0)?,
            }
        } else {
            Shift::Static(config.number_or("shift", 1.0)?)
        };
        Ok(Self { train_timesteps: config.number_or("num_train_timesteps", 1000.0)?, shift })
    }
}

impl FlowEuler {
    /// A scheduler with this spacing.
    pub fn new(config: FlowEulerConfig) -> Self {
        Self { config }
    }

    /// The levels that FLUX pipelines ask for: σ from 1 to 1/n in n steps, then shifted. All arithmetic after the
    /// first line is float32, as in the reference.
    pub fn schedule(&self, steps: usize, image_tokens: usize) -> Schedule {
        let even = linspace(1.0, 1.0 / steps as f64, steps).into_iter().map(|s| s as f32);
        let mut sigmas: Vec<f32> = match self.config.shift {
            Shift::Static(shift) => {
                let (s, rest) = (shift as f32, (shift - 1.0) as f32);
                even.map(|sigma| s * sigma / (1.0 + rest * sigma)).collect()
            }
            Shift::Dynamic { base, max, base_tokens, max_tokens } => {
                let slope = (max - base) / (max_tokens - base_tokens);
                let mu = image_tokens as f64 * slope + (base - slope * base_tokens);
                let e = mu.exp() as f32;
                even.map(|sigma| e / (e + (1.0 / sigma - 1.0))).collect()
            }
        };
        let timesteps = sigmas.iter().map(|s| s * self.config.train_timesteps as f32).collect();
        sigmas.push(0.0);
        Schedule { sigmas, timesteps }
    }
}

impl Schedule {
    /// x + (σ₊ − σ) v, summed in float32, rounded to the type of `latents`. The product is rounded to the type of the
    /// model first, as the reference does.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn step(&self, index: usize, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let change = scaled(velocity, self.sigmas[index + 1] - self.sigmas[index])?.to_dtype(DType::F32)?;
        Ok((latents.to_dtype(DType::F32)? + change)?.to_dtype(latents.dtype())?)
    }

    /// The clean latents that the velocity at this step points to: x − σ v.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn destination(&self, index: usize, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        Ok((latents - scaled(velocity, self.sigmas[index])?)?)
    }
}

/// x times a float32 number, rounded once to the type of x; candle alone would round the number first, and so
/// lengthen or shorten every step of a bfloat16 model.
fn scaled(x: &Tensor, by: f32) -> Result<Tensor> {
    Ok((x.to_dtype(DType::F32)? * f64::from(by))?.to_dtype(x.dtype())?)
}

/// numpy's `linspace`, including how it rounds.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / (count.max(2) - 1) as f64;
    let mut values: Vec<f64> = (0..count).map(|i| i as f64 * step + start).collect();
    if count > 1 {
        values[count - 1] = stop;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(shift: Shift) -> FlowEuler {
        FlowEuler::new(FlowEulerConfig { train_timesteps: 1000.0, shift })
    }

    const DEV: Shift = Shift::Dynamic { base: 0.5, max: 1.15, base_tokens: 256.0, max_tokens: 4096.0 };

    #[test]
    fn schnell_is_even_and_ends_at_zero() {
        let schedule = scheduler(Shift::Static(1.0)).schedule(4, 4096);
        assert_eq!(schedule.sigmas, [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(schedule.timesteps, [1000.0, 750.0, 500.0, 250.0]);
        assert_eq!(scheduler(Shift::Static(1.0)).schedule(1, 4096).sigmas, [1.0, 0.0]);
    }

    #[test]
    fn a_reduced_type_does_not_round_the_step() -> Result<()> {
        let schedule = Schedule { sigmas: vec![1.0, 0.7492, 0.0], timesteps: vec![1000.0, 749.2] };
        let zero = Tensor::zeros(1, DType::BF16, &candle_core::Device::Cpu)?;
        let velocity = (zero.ones_like()? * 100.0)?;
        let got = schedule.step(0, &zero, &velocity)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        // −25.08 to eight bits; a step of −0.2508 rounded first would give −25
        assert_eq!(got, [-25.125]);
        Ok(())
    }

    #[test]
    fn dev_shifts_by_the_number_of_tokens() {
        // μ = 1.15 at 4096 tokens: σ = ½ becomes e^1.15 / (e^1.15 + 1)
        let sigmas = scheduler(DEV).schedule(2, 4096).sigmas;
        assert_eq!(sigmas[0], 1.0);
        assert!((f64::from(sigmas[1]) - 1.15f64.exp() / (1.15f64.exp() + 1.0)).abs() < 1e-7);
        assert!(scheduler(DEV).schedule(2, 16384).sigmas[1] > sigmas[1], "the line goes on beyond its anchor");
    }
}
