//! Sizes of an F-Lite transformer.

use crate::error::Result;
use crate::families::streams::Heads;
use crate::weights::Config;

/// Sizes of an F-Lite transformer.
#[derive(Clone, Debug)]
pub struct FLiteConfig {
    /// Channels of the latents.
    pub channels: usize,
    /// Width of a token inside.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward.
    pub wide: usize,
    /// Width of a text token at the input.
    pub text_width: usize,
    /// Whether values of later blocks are mixed with those of the first.
    pub mixes_values: bool,
    /// Whether norms have weights, and queries, keys and values biases.
    pub trains_norms: bool,
    /// Base of the angles that positions turn by.
    pub base: f64,
}

impl FLiteConfig {
    /// From `dit_model/config.json`; absent keys mean the published model.
    ///
    /// # Errors
    /// Values that are no sizes, do not fit together or that this transformer has no meaning for.
    pub fn read(config: &Config) -> Result<Self> {
        let width = config.size_or("hidden_size", 3072)?;
        let this = Self {
            channels: config.size_or("in_channels", 16)?,
            width,
            depth: config.size_or("depth", 40)?,
            heads: config.size_or("num_heads", 12)?,
            wide: wide(config, width)?,
            text_width: config.size_or("cross_attn_input_size", 4096)?,
            mixes_values: config.flag_or("residual_v", true)?,
            trains_norms: config.flag_or("train_bias_and_rms", false)?,
            base: config.number_or("rope_base", 10000.0)?,
        };
        // positions on two axes turn pairs of numbers: a head holds a multiple of four
        if this.heads == 0 || !width.is_multiple_of(4 * this.heads) || width == 0 {
            return Err(config.unsupported("num_heads", this.heads, &format!("a divisor of a quarter of {width}")));
        }
        if !(this.base.is_finite() && this.base > 0.0) {
            return Err(config.unsupported("rope_base", this.base, "a number above 0"));
        }
        if this.depth == 0 {
            return Err(config.unsupported("depth", 0, "at least 1"));
        }
        let patch = config.size_or("patch_size", 2)?;
        if patch != 2 {
            return Err(config.unsupported("patch_size", patch, "2"));
        }
        if !config.flag_or("use_rope", true)? {
            return Err(config.unsupported("use_rope", false, "true"));
        }
        Ok(this)
    }

    pub(super) fn attention(&self) -> Heads {
        Heads { count: self.heads, width: self.width / self.heads }
    }
}

/// Width of the feed-forward, rounded down.
fn wide(config: &Config, width: usize) -> Result<usize> {
    let ratio = config.number_or("mlp_ratio", 4.0)?;
    let wide = width as f64 * ratio;
    if !(1.0..=f64::from(1 << 24)).contains(&wide) {
        return Err(config.unsupported("mlp_ratio", ratio, &format!("a number that makes a width of {width} a width")));
    }
    Ok(wide as usize)
}
