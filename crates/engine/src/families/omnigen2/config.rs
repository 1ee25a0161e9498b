//! Sizes of an OmniGen2 transformer.

use crate::error::Result;
use crate::families::streams::Heads;
use crate::weights::Config;

/// The widest that what the timestep becomes may be.
const TIME_WIDTH: usize = 1024;

/// Sizes of an OmniGen2 transformer.
#[derive(Clone, Debug)]
pub struct OmniGen2Config {
    /// Channels of the latents.
    pub channels: usize,
    /// Width of a token inside.
    pub width: usize,
    /// Blocks in which everything attends to everything.
    pub layers: usize,
    /// Blocks before them, for the text, the given pictures and the drawn one each.
    pub refiners: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each of which serves as many heads of queries.
    pub kv_heads: usize,
    /// Width of the feed-forward.
    pub wide: usize,
    /// Width of a text token at the input.
    pub text_width: usize,
    /// Widths of the rotary axes: place in the sequence, rows, columns.
    pub axes: [usize; 3],
    /// Added to mean squares.
    pub eps: f64,
    /// What the angles of the timestep are multiplied by.
    pub time_scale: f64,
}

impl OmniGen2Config {
    /// From `transformer/config.json`; absent keys mean OmniGen2.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together.
    pub fn read(config: &Config) -> Result<Self> {
        let width = config.size_or("hidden_size", 2520)?;
        let axes = config.sizes_or("axes_dim_rope", &[40, 40, 40])?;
        let said = format!("{axes:?}");
        let this = Self {
            channels: config.size_or("in_channels", 16)?,
            width,
            layers: config.size_or("num_layers", 32)?,
            refiners: config.size_or("num_refiner_layers", 2)?,
            heads: config.size_or("num_attention_heads", 21)?,
            kv_heads: config.size_or("num_kv_heads", 7)?,
            wide: wide(config, width)?,
            text_width: config.size_or("text_feat_dim", 2048)?,
            axes: axes.try_into().map_err(|_| config.unsupported("axes_dim_rope", said, "three numbers"))?,
            eps: config.number_or("norm_eps", 1e-5)?,
            time_scale: config.number_or("timestep_scale", 1000.0)?,
        };
        this.check(config)?;
        Ok(this)
    }

    fn check(&self, config: &Config) -> Result<()> {
        for (key, default, expected) in [("patch_size", 2, 2), ("out_channels", self.channels, self.channels)] {
            let value = config.size_or(key, default)?;
            if value != expected {
                return Err(config.unsupported(key, value, &expected.to_string()));
            }
        }
        for (key, value) in [("in_channels", self.channels), ("hidden_size", self.width), ("num_layers", self.layers)] {
            if value == 0 {
                return Err(config.unsupported(key, 0, "at least 1"));
            }
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            let wanted = format!("a divisor of {}", self.width);
            return Err(config.unsupported("num_attention_heads", self.heads, &wanted));
        }
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            let wanted = format!("a divisor of {}", self.heads);
            return Err(config.unsupported("num_kv_heads", self.kv_heads, &wanted));
        }
        let head = self.attention().width;
        if self.axes.iter().sum::<usize>() != head || self.axes.iter().any(|axis| axis % 2 != 0) {
            let wanted = format!("even numbers that are {head} together, the width of a head");
            return Err(config.unsupported("axes_dim_rope", format!("{:?}", self.axes), &wanted));
        }
        for (key, value) in [("norm_eps", self.eps), ("timestep_scale", self.time_scale)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(config.unsupported(key, value, "a number above 0"));
            }
        }
        Ok(())
    }

    /// Heads of queries.
    pub(super) fn attention(&self) -> Heads {
        Heads { count: self.heads, width: self.width / self.heads }
    }

    /// Width of what the timestep becomes.
    pub(super) fn time_width(&self) -> usize {
        self.width.min(TIME_WIDTH)
    }
}

/// Width of the feed-forward: four tokens, or a share of that, rounded up.
fn wide(config: &Config, width: usize) -> Result<usize> {
    let multiple = config.size_or("multiple_of", 256)?;
    let share = config.number_or("ffn_dim_multiplier", 1.0)?;
    let wide = (4 * width) as f64 * share;
    if multiple == 0 {
        return Err(config.unsupported("multiple_of", 0, "at least 1"));
    }
    if !(1.0..=f64::from(1 << 24)).contains(&wide) {
        let wanted = format!("a number that makes a width of {} a width", 4 * width);
        return Err(config.unsupported("ffn_dim_multiplier", share, &wanted));
    }
    Ok((wide as usize).next_multiple_of(multiple))
}
