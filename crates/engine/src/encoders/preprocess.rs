//! What transformers does to a picture before an encoder sees it, as `preprocessor_config.json` says.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::picture::Filter;
use crate::pixels::Pixels;
use crate::weights::Config;

/// What a byte may be multiplied by, and what may be taken from it or divide it: beyond that, numbers overflow.
const LARGEST: f64 = 1e3;

/// How a picture is made fit for an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// The size that it is squashed to.
    pub width: usize,
    /// Likewise.
    pub height: usize,
    /// How it is resampled.
    pub filter: Filter,
    /// What a byte is multiplied by.
    pub factor: f64,
    /// Taken from each channel.
    pub mean: [f64; 3],
    /// What is left is divided by.
    pub deviation: [f64; 3],
}

impl Preprocess {
    /// SigLIP's own: squashed to a square with a bicubic filter, −1 … 1.
    pub fn siglip(side: usize) -> Self {
        let half = [0.5; 3];
        Self { width: side, height: side, filter: Filter::Bicubic, factor: 1.0 / 255.0, mean: half, deviation: half }
    }

    /// From `preprocessor_config.json`; absent keys mean SigLIP's own values.
    ///
    /// # Errors
    /// Values that are none, or steps that this engine does not take.
    pub fn read(config: &Config, side: usize) -> Result<Self> {
        for (key, expected) in [("do_resize", true), ("do_center_crop", false)] {
            if config.flag_or(key, expected)? != expected {
                return Err(config.unsupported(key, !expected, &expected.to_string()));
            }
        }
        let own = Self::siglip(side);
        let (height, width) = match config.get("size") {
            Some(serde_json::Value::Object(_)) => {
                let size = config.inner("size")?;
                match (size.get("height"), size.get("width")) {
                    (Some(_), Some(_)) => (size.size("height")?, size.size("width")?),
                    _ => return Err(config.unsupported("size", "of another form", "{height, width}")),
                }
            }
            Some(_) => (config.size("size")?, config.size("size")?),
            None => (side, side),
        };
        let filter = match config.size_or("resample", 3)? {
            1 => Filter::Lanczos,
            2 => Filter::Bilinear,
            3 => Filter::Bicubic,
            other => return Err(config.unsupported("resample", other, "1 (Lanczos), 2 (bilinear) or 3 (bicubic)")),
        };
        let rescales = config.flag_or("do_rescale", true)?;
        let factor = if rescales { config.number_or("rescale_factor", own.factor)? } else { 1.0 };
        let (mut mean, mut deviation) = ([0.0; 3], [1.0; 3]);
        if config.flag_or("do_normalize", true)? {
            mean = config.numbers_or("image_mean", own.mean)?;
            deviation = config.numbers_or("image_std", own.deviation)?;
        }
        let known = |key: &str, value: f64, fits: bool, supported: &str| {
            if fits { Ok(()) } else { Err(config.unsupported(key, value, supported)) }
        };
        known("rescale_factor", factor, factor > 0.0 && factor <= LARGEST, "above 0, at most 1000")?;
        for value in mean {
            known("image_mean", value, value.abs() <= LARGEST, "-1000 to 1000")?;
        }
        for value in deviation {
            known("image_std", value, (1.0 / LARGEST..=LARGEST).contains(&value), "0.001 to 1000")?;
        }
        Ok(Self { width, height, filter, factor, mean, deviation })
    }

    /// `[1, 3, height, width]`, float32.
    ///
    /// # Errors
    /// None that a picture with pixels could cause.
    pub fn apply(&self, picture: &Pixels) -> Result<Tensor> {
        let fitted = picture.resampled(self.width, self.height, self.filter);
        let value = |(i, byte): (usize, &u8)| {
            let (mean, deviation) = (self.mean[i % 3] as f32, self.deviation[i % 3] as f32);
            ((f64::from(*byte) * self.factor) as f32 - mean) / deviation
        };
        let values: Vec<f32> = fitted.rgb.iter().enumerate().map(value).collect();
        let rows = Tensor::from_vec(values, (1, self.height, self.width, 3), &Device::Cpu)?;
        Ok(rows.permute((0, 3, 1, 2))?.contiguous()?)
    }
}
