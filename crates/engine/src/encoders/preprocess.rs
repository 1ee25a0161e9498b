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
    /// The size that it gets.
    pub width: usize,
    /// Likewise.
    pub height: usize,
    /// Its shorter side is brought to this length first, and what is too much is cut off on all sides; where this is absent, it is
    /// squashed.
    pub shorter: Option<usize>,
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
        let (half, filter) = ([0.5; 3], Filter::Bicubic);
        Self { width: side, height: side, shorter: None, filter, factor: 1.0 / 255.0, mean: half, deviation: half }
    }

    /// ViT's own: squashed to a square with a bilinear filter, −1 … 1.
    pub fn vit(side: usize) -> Self {
        Self { filter: Filter::Bilinear, ..Self::siglip(side) }
    }

    /// CLIP's own: a square cut out of the middle, by the mean and the deviation of what it was trained with.
    pub fn clip(side: usize) -> Self {
        let mean = [0.48145466, 0.4578275, 0.40821073];
        let deviation = [0.26862954, 0.26130258, 0.27577711];
        Self { shorter: Some(side), mean, deviation, ..Self::siglip(side) }
    }

    /// From `preprocessor_config.json`; absent keys mean the values of `own`.
    ///
    /// # Errors
    /// Values that are none, or steps that this engine does not take.
    pub fn read(config: &Config, own: &Self) -> Result<Self> {
        for (key, expected) in [("do_resize", true), ("do_center_crop", own.shorter.is_some())] {
            if config.flag_or(key, expected)? != expected {
                return Err(config.unsupported(key, !expected, &expected.to_string()));
            }
        }
        let (shorter, (height, width)) = match own.shorter {
            None => (None, sides(config, "size", own)?),
            Some(shorter) => {
                let shorter = shorter_side(config, shorter)?;
                let (height, width) = sides(config, "crop_size", own)?;
                if height.max(width) > shorter {
                    return Err(config.unsupported("crop_size", height.max(width), &format!("at most {shorter}")));
                }
                (Some(shorter), (height, width))
            }
        };
        if height == 0 || width == 0 {
            return Err(config.unsupported("size", 0, "at least 1"));
        }
        let filter = match config.get("resample") {
            None => own.filter,
            Some(_) => match config.size("resample")? {
                1 => Filter::Lanczos,
                2 => Filter::Bilinear,
                3 => Filter::Bicubic,
                other => return Err(config.unsupported("resample", other, "1 (Lanczos), 2 (bilinear) or 3 (bicubic)")),
            },
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
        Ok(Self { width, height, shorter, filter, factor, mean, deviation })
    }

    /// `[1, 3, height, width]`, float32.
    ///
    /// # Errors
    /// None that a picture with pixels could cause.
    pub fn apply(&self, picture: &Pixels) -> Result<Tensor> {
        let fitted = match self.shorter {
            None => picture.resampled(self.width, self.height, self.filter),
            Some(shorter) => {
                let (width, height) = scaled(picture, shorter);
                picture.resampled_middle((width, height), (self.width, self.height), self.filter)
            }
        };
        let value = |(i, byte): (usize, &u8)| {
            let (mean, deviation) = (self.mean[i % 3] as f32, self.deviation[i % 3] as f32);
            ((f64::from(*byte) * self.factor) as f32 - mean) / deviation
        };
        let values: Vec<f32> = fitted.rgb.iter().enumerate().map(value).collect();
        let rows = Tensor::from_vec(values, (1, self.height, self.width, 3), &Device::Cpu)?;
        Ok(rows.permute((0, 3, 1, 2))?.contiguous()?)
    }
}

/// The sides of a picture whose shorter one is brought to this length; the other one is rounded down.
fn scaled(picture: &Pixels, shorter: usize) -> (usize, usize) {
    let (width, height) = (picture.width, picture.height);
    let longer = |long: usize, short: usize| shorter * long / short.max(1);
    if width <= height { (shorter, longer(height, width)) } else { (longer(width, height), shorter) }
}

/// Height and width: of an object that has both, or one number for both.
fn sides(config: &Config, key: &str, own: &Preprocess) -> Result<(usize, usize)> {
    match config.get(key) {
        Some(serde_json::Value::Object(_)) => {
            let size = config.inner(key)?;
            match (size.get("height"), size.get("width")) {
                (Some(_), Some(_)) => Ok((size.size("height")?, size.size("width")?)),
                _ => Err(config.unsupported(key, "of another form", "{height, width}")),
            }
        }
        Some(_) => Ok((config.size(key)?, config.size(key)?)),
        None => Ok((own.height, own.width)),
    }
}

/// The length that the shorter side is brought to: of an object that says so, or a number.
fn shorter_side(config: &Config, own: usize) -> Result<usize> {
    match config.get("size") {
        Some(serde_json::Value::Object(_)) => {
            let size = config.inner("size")?;
            match size.get("shortest_edge") {
                Some(_) => size.size("shortest_edge"),
                None => Err(config.unsupported("size", "of another form", "{shortest_edge}")),
            }
        }
        Some(_) => config.size("size"),
        None => Ok(own),
    }
}
