//! Noise levels: more of them near noise the larger the picture is. No file of the checkpoint speaks of them.

use crate::samplers::Schedule;
use crate::stages::Canvas;

/// The levels of a run, from 1, all noise, to 0: α u / (1 + (α − 1) u) for even u, with α = 4 at 1024 × 1024. They are
/// computed in float64 and kept in float32.
pub(super) fn levels(steps: usize, canvas: Canvas) -> Schedule {
    let alpha = 2.0 * ((canvas.height * canvas.width) as f64 / 4096.0).sqrt();
    let level = |i: usize| {
        let u = i as f64 / steps as f64;
        (u * alpha / (1.0 + (alpha - 1.0) * u)) as f32
    };
    let sigmas: Vec<f32> = (0..=steps).rev().map(level).collect();
    Schedule { timesteps: sigmas[..steps].iter().map(|sigma| sigma * 1000.0).collect(), sigmas }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(height: usize, width: usize) -> Canvas {
        Canvas { height, width, channels: 16, images: 1 }
    }

    #[test]
    fn a_square_of_1024_pixels_is_shifted_by_four() {
        let Schedule { sigmas, timesteps } = levels(28, canvas(128, 128));
        let rounded: Vec<f64> = sigmas.iter().map(|s| (f64::from(*s) * 1e6).round() / 1e6).collect();
        assert_eq!((rounded.len(), timesteps.len()), (29, 28));
        assert_eq!(rounded[..3], [1.0, 0.990_826, 0.981_132]);
        assert_eq!(rounded[26..], [0.235_294, 0.129_032, 0.0]);
        assert_eq!((timesteps[0], timesteps[27]), (1000.0, sigmas[27] * 1000.0));
    }

    #[test]
    fn larger_pictures_stay_longer_near_noise() {
        let middle = |height, width| levels(2, canvas(height, width)).sigmas[1];
        assert!((middle(96, 128) - 0.775_990_9).abs() < 1e-6);
        assert!(middle(2, 2) < middle(96, 128) && middle(96, 128) < middle(256, 256));
        assert_eq!(levels(1, canvas(2, 2)).sigmas, [1.0, 0.0]);
    }
}
