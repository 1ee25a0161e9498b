//! How the noise levels of flow matching are spaced, as diffusers' `FlowMatchEulerDiscreteScheduler` counts them.

use crate::error::Result;
use crate::weights::Config;

/// How a checkpoint wants its noise levels spaced.
#[derive(Clone, Debug)]
pub struct FlowSpacing {
    /// Noise levels in training; timesteps are sigma times this.
    pub train_timesteps: f64,
    /// The spacing.
    pub shift: Shift,
}

/// The spacing that a scheduler chooses by itself, where no pipeline asks for levels: SD3.5 and AuraFlow.
#[derive(Clone, Debug)]
pub struct TrainedSpacing {
    train_timesteps: f64,
    shift: f64,
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
    /// What the network is told at each step: 1000 σ, or 1 − σ where time rises ([`RisingSpacing`](super::RisingSpacing)).
    pub timesteps: Vec<f32>,
}

impl FlowSpacing {
    /// From `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// A scheduler of another class, or with options that would change the numbers.
    pub fn read(config: &Config) -> Result<Self> {
        Self::read_as(config, &["FlowMatchEulerDiscreteScheduler"])
    }

    /// From the configuration of a scheduler of one of these classes.
    fn read_as(config: &Config, classes: &[&str]) -> Result<Self> {
        let class = config.text_or("_class_name", classes[0]);
        if !classes.contains(&class) {
            return Err(config.unsupported("_class_name", class, classes[0]));
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

    /// The levels that FLUX pipelines ask for: σ from 1 to 1/n in n steps, then shifted. All arithmetic after the
    /// first line is float32, as in the reference.
    pub fn even(&self, steps: usize, image_tokens: usize) -> Schedule {
        let even = linspace(1.0, 1.0 / steps as f64, steps).into_iter().map(|s| s as f32);
        let sigmas: Vec<f32> = match self.shift {
            Shift::Static(shift) => even.map(|sigma| shifted(shift, sigma)).collect(),
            Shift::Dynamic { base, max, base_tokens, max_tokens } => {
                let slope = (max - base) / (max_tokens - base_tokens);
                let mu = image_tokens as f64 * slope + (base - slope * base_tokens);
                let e = mu.exp() as f32;
                even.map(|sigma| e / (e + (1.0 / sigma - 1.0))).collect()
            }
        };
        Schedule::new(sigmas, self.train_timesteps)
    }
}

impl TrainedSpacing {
    /// From `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// As [`FlowSpacing::read`], and for levels that depend on the picture's size.
    pub fn read(config: &Config) -> Result<Self> {
        Self::read_as(config, &["FlowMatchEulerDiscreteScheduler"])
    }

    /// From the configuration of a scheduler of one of these classes.
    pub(super) fn read_as(config: &Config, classes: &[&str]) -> Result<Self> {
        match FlowSpacing::read_as(config, classes)? {
            FlowSpacing { train_timesteps, shift: Shift::Static(shift) } => Ok(Self { train_timesteps, shift }),
            _ => Err(config.unsupported("use_dynamic_shifting", true, "false")),
        }
    }

    /// Even between the ends of the table of training, which is shifted already, and then shifted a second time, in
    /// float64.
    pub fn levels(&self, steps: usize) -> Schedule {
        let Self { train_timesteps: scale, shift } = *self;
        let end = |sigma: f32| f64::from(shifted(shift, sigma)) * scale;
        let even = linspace(end(1.0), end((1.0 / scale) as f32), steps).into_iter().map(|t| t / scale);
        Schedule::new(even.map(|sigma| (shift * sigma / (1.0 + (shift - 1.0) * sigma)) as f32).collect(), scale)
    }
}

impl Schedule {
    fn new(mut sigmas: Vec<f32>, train_timesteps: f64) -> Self {
        let timesteps = sigmas.iter().map(|s| s * train_timesteps as f32).collect();
        sigmas.push(0.0);
        Self { sigmas, timesteps }
    }
}

/// s σ / (1 + (s − 1) σ) in float32.
fn shifted(shift: f64, sigma: f32) -> f32 {
    shift as f32 * sigma / (1.0 + (shift - 1.0) as f32 * sigma)
}

/// numpy's `linspace`, including how it rounds.
pub(super) fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
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

    fn spaced(shift: Shift) -> FlowSpacing {
        FlowSpacing { train_timesteps: 1000.0, shift }
    }

    const DEV: Shift = Shift::Dynamic { base: 0.5, max: 1.15, base_tokens: 256.0, max_tokens: 4096.0 };

    #[test]
    fn schnell_is_even_and_ends_at_zero() {
        let schedule = spaced(Shift::Static(1.0)).even(4, 4096);
        assert_eq!(schedule.sigmas, [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(schedule.timesteps, [1000.0, 750.0, 500.0, 250.0]);
        assert_eq!(spaced(Shift::Static(1.0)).even(1, 4096).sigmas, [1.0, 0.0]);
    }

    #[test]
    fn dev_shifts_by_the_number_of_tokens() {
        // μ = 1.15 at 4096 tokens: σ = ½ becomes e^1.15 / (e^1.15 + 1)
        let sigmas = spaced(DEV).even(2, 4096).sigmas;
        assert_eq!(sigmas[0], 1.0);
        assert!((f64::from(sigmas[1]) - 1.15f64.exp() / (1.15f64.exp() + 1.0)).abs() < 1e-7);
        assert!(spaced(DEV).even(2, 16384).sigmas[1] > sigmas[1], "the line goes on beyond its anchor");
    }

    #[test]
    fn the_table_of_training_is_shifted_twice() {
        let levels = |shift, steps| TrainedSpacing { train_timesteps: 1000.0, shift }.levels(steps).sigmas;
        let rounded: Vec<f64> = levels(3.0, 4).iter().map(|s| (f64::from(*s) * 1e4).round() / 1e4).collect();
        assert_eq!(rounded, [1.0, 0.8577, 0.6022, 0.0089, 0.0]);
        assert_eq!(levels(1.73, 1), [1.0, 0.0]);
        assert_eq!(levels(1.73, 50).len(), 51);
    }
}
