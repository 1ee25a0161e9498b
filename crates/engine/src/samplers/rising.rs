//! Time that rises from 0, noise, to 1, data: how OmniGen2's authors space it. Their scheduler has the name of diffusers'
//! `FlowMatchEulerDiscreteScheduler` and is another.

use super::Schedule;
use super::spacing::linspace;
use crate::error::Result;
use crate::weights::Config;

/// How a checkpoint wants its times spaced.
#[derive(Clone, Debug)]
pub struct RisingSpacing {
    /// Whether more of them are near noise the larger the picture is.
    by_size: bool,
}

/// Side of the latents at which times are even.
const EVEN: f64 = 40.0;

impl RisingSpacing {
    /// From `scheduler/scheduler_config.json`; absent keys mean OmniGen2.
    ///
    /// # Errors
    /// A scheduler of another class.
    pub fn read(config: &Config) -> Result<Self> {
        const CLASS: &str = "FlowMatchEulerDiscreteScheduler";
        let class = config.text_or("_class_name", CLASS);
        if class != CLASS {
            return Err(config.unsupported("_class_name", class, CLASS));
        }
        Ok(Self { by_size: config.flag_or("dynamic_time_shift", true)? })
    }

    /// The times of so many steps over latents of so many places, u / (m − m u + u) for even u, and as levels of noise what
    /// they lack to 1. Even times are float32 and what is made of them float64, as the reference computes it.
    pub fn levels(&self, steps: usize, places: usize) -> Schedule {
        let m = if self.by_size { (places as f64).sqrt() / EVEN } else { 1.0 };
        let even = linspace(0.0, 1.0, steps + 1).into_iter().take(steps).map(|u| f64::from(u as f32));
        let timesteps: Vec<f32> = even.map(|u| (u / (m - m * u + u)) as f32).collect();
        let sigmas = timesteps.iter().map(|time| 1.0 - time).chain([0.0]).collect();
        Schedule { sigmas, timesteps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_stay_longer_near_noise() {
        let Schedule { sigmas, timesteps } = RisingSpacing { by_size: true }.levels(50, 128 * 128);
        let rounded: Vec<f64> = timesteps.iter().map(|t| (f64::from(*t) * 1e6).round() / 1e6).collect();
        assert_eq!(rounded[..4], [0.0, 0.006_337, 0.012_853, 0.019_557]);
        assert_eq!(rounded[47..], [0.830_389, 0.882_353, 0.938_697]);
        assert_eq!((sigmas.len(), sigmas[0], sigmas[50]), (51, 1.0, 0.0));
    }

    #[test]
    fn times_are_even_at_one_size_and_where_nobody_shifts_them() {
        for (by_size, places) in [(true, 1600), (false, 7)] {
            assert_eq!(RisingSpacing { by_size }.levels(4, places).timesteps, [0.0, 0.25, 0.5, 0.75]);
        }
    }
}
