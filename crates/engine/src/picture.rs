//! Pictures that a caller gives, made fit for a model: Pillow's resampling and what diffusers does around it.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::pixels::Pixels;

/// Pillow computes in fixed point with this many bits behind the point.
const BITS: u32 = 22;

/// What a new pixel is mixed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A windowed sinc, three pixels to each side.
    Lanczos,
    /// The two nearest pixels in each direction.
    Bilinear,
    /// The four nearest.
    Bicubic,
}

impl Pixels {
    /// This picture in another size, with Lanczos: what diffusers does before it encodes a picture.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        self.resampled(width, height, Filter::Lanczos)
    }

    /// This picture in another size, as Pillow's `Image.resize` makes it up to version 12: columns first, then rows, rounded
    /// to bytes in between.
    #[must_use]
    pub fn resampled(&self, width: usize, height: usize, filter: Filter) -> Self {
        let mut picture = self.clone();
        if width != picture.width {
            picture = picture.with_columns(width, filter);
        }
        if height != picture.height {
            picture = picture.turned().with_columns(height, filter).turned();
        }
        picture
    }

    /// The middle of [`resampled`](Self::resampled), of this size; what is not in it is not computed. Of an odd rest, the larger half
    /// is cut off on the right and below.
    ///
    /// `part` must not be larger than `whole`.
    #[must_use]
    pub(crate) fn resampled_middle(
        &self,
        (width, height): (usize, usize),
        (part_width, part_height): (usize, usize),
        filter: Filter,
    ) -> Self {
        let middle = |whole: usize, part: usize| {
            let first = whole.saturating_sub(part) / 2;
            first..(first + part).min(whole)
        };
        let picture = self.with_some_columns(width, middle(width, part_width), filter);
        picture.turned().with_some_columns(height, middle(height, part_height), filter).turned()
    }

    /// As diffusers hands it to an autoencoder: `[1, 3, height, width]`, −1 … 1.
    pub(crate) fn to_unit(&self) -> Result<Tensor> {
        // divided number by number: a tensor would be multiplied by 1/255, which is rounded already
        let unit: Vec<f32> = self.rgb.iter().map(|byte| f32::from(*byte) / 255.0 * 2.0 - 1.0).collect();
        let rows = Tensor::from_vec(unit, (1, self.height, self.width, 3), &Device::Cpu)?;
        Ok(rows.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// As diffusers reads a mask: `[1, 1, height, width]`, 1 where its grey is at least half of white, else 0.
    pub(crate) fn to_mask(&self) -> Result<Tensor> {
        let white = |rgb: &[u8]| f32::from(u8::from(f32::from(grey(rgb)) / 255.0 >= 0.5));
        let values: Vec<f32> = self.rgb.chunks_exact(3).map(white).collect();
        Ok(Tensor::from_vec(values, (1, 1, self.height, self.width), &Device::Cpu)?)
    }

    /// The brightness of every square cell of `side` pixels, 0 … 1, row by row: its pixels' grey, averaged. Pixels beyond the
    /// last whole cell do not count.
    pub(crate) fn cells(&self, side: usize) -> Vec<f32> {
        let (columns, rows) = (self.width / side, self.height / side);
        let mut sums = vec![0u64; columns * rows];
        for (i, rgb) in self.rgb.chunks_exact(3).enumerate() {
            let (column, row) = (i % self.width / side, i / self.width / side);
            if column < columns && row < rows {
                sums[row * columns + column] += u64::from(grey(rgb));
            }
        }
        let white = 255.0 * (side * side) as f64;
        sums.into_iter().map(|sum| (sum as f64 / white) as f32).collect()
    }

    fn with_columns(&self, width: usize, filter: Filter) -> Self {
        self.with_some_columns(width, 0..width, filter)
    }

    /// Of a picture of this width, these columns.
    fn with_some_columns(&self, width: usize, columns: std::ops::Range<usize>, filter: Filter) -> Self {
        let taps = Taps::of(self.width, width, columns.clone(), filter);
        let width = columns.len();
        let mut rgb = Vec::with_capacity(self.height * width * 3);
        for row in self.rgb.chunks_exact(self.width * 3) {
            for (first, weights) in &taps.columns {
                for channel in 0..3 {
                    let values = row[first * 3 + channel..].iter().step_by(3);
                    rgb.push(weighted(values, weights));
                }
            }
        }
        Self { width, height: self.height, rgb }
    }

    /// Rows as columns.
    fn turned(&self) -> Self {
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for column in 0..self.width {
            for row in 0..self.height {
                let at = (row * self.width + column) * 3;
                rgb.extend_from_slice(&self.rgb[at..at + 3]);
            }
        }
        Self { width: self.height, height: self.width, rgb }
    }
}

/// Pillow's conversion from RGB to `L`.
fn grey(rgb: &[u8]) -> u8 {
    let part = |channel: usize, weight: u32| u32::from(rgb[channel]) * weight;
    ((part(0, 19595) + part(1, 38470) + part(2, 7471) + 0x8000) >> 16) as u8
}

/// Half is added before the bits behind the point go.
fn weighted<'a>(values: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let sum: i32 = values.zip(weights).map(|(value, weight)| i32::from(*value) * weight).sum();
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// For every new column the first old one that counts, and how much it and those after it count.
struct Taps {
    columns: Vec<(usize, Vec<i32>)>,
}

impl Taps {
    fn of(from: usize, to: usize, columns: std::ops::Range<usize>, filter: Filter) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let reach = filter.reach() * stretch;
        let columns = columns.map(|column| {
            let center = (column as f64 + 0.5) * scale;
            let first = (center - reach + 0.5).max(0.0) as usize;
            let end = ((center + reach + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..end).map(|x| filter.weight((x as f64 - center + 0.5) / stretch)).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: f64| {
                let scaled = if total == 0.0 { weight } else { weight / total } * f64::from(1 << BITS);
                (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32
            };
            (first, weights.into_iter().map(fixed).collect())
        });
        Self { columns: columns.collect() }
    }
}

impl Filter {
    /// How far it looks to each side, in old pixels where the picture grows and in new ones where it shrinks.
    fn reach(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// How much a pixel at this distance counts.
    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Lanczos => lanczos(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => bicubic(x.abs()),
        }
    }
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        let angle = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { angle.sin() / angle }
    };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// Keys' cubic with a = −1/2, at a distance.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
